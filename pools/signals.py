"""What happened to stock, told inside the transaction in which it happened (sender: LicensePool, KeyImport)."""

from django.dispatch import Signal

pool_refilled = Signal()  # pool
stock_low = Signal()  # pool, level (LicensePool.Notice), available
import_due = Signal()  # key_import: it is a worker's turn
