"""What happened to orders, told inside the transaction in which it happened (sender: Order).

A receiver that raises takes the fact back with its own work.
"""

from django.dispatch import Signal

order_paid = Signal()  # order, items
order_refunded = Signal()  # order; in full: it is no longer paid
order_reinstated = Signal()  # order, by; its full refund was undone: it is paid again
