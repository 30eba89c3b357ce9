class Refused(Exception):
    """No, because …: a sentence for whoever asked. The API answers with 409, a page with a message."""

    code: str  # what programs know the reason by
    errors: list[dict[str, str]] = []  # the fields it is about, as JSON pointers
