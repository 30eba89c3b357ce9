"""Formats of dates and times, by language, for templates, the admin and `date_format()`.

In addition to Django’s names: EXACT_FORMAT, with seconds and time zone, and ZONED_FORMAT, for e-mails.
"""
