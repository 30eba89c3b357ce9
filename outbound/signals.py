from django.dispatch import Signal

# Sent synchronously when a paused server answers again. Argument: upstream.
upstream_back = Signal()
