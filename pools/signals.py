"""What happened to stock, told inside the transaction in which it happened (sender: LicensePool)."""

from django.dispatch import Signal

pool_refilled = Signal()  # pool
stock_low = Signal()  # pool, level (LicensePool.Notice), available
