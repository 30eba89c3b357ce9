"""Changes of orders, sent inside the transaction that makes them (sender: Order).

If a receiver raises, the change is rolled back, too.
"""

from django.dispatch import Signal

order_paid = Signal()  # order, items, at_once (whether sources should be asked in the transaction)
order_refunded = Signal()  # order, actor; refunded in full, so it is no longer paid
order_reinstated = Signal()  # order, actor; its full refund was undone, so it is paid again
