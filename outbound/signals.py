"""What happens to servers of merchants, for those who wait for them. Sent synchronously."""

from django.dispatch import Signal

# upstream: it answers again.
upstream_back = Signal()
