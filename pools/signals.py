"""Changes of stock, sent inside the transaction that makes them (sender: LicensePool or KeyImport)."""

from django.dispatch import Signal

pool_refilled = Signal()  # pool
stock_low = Signal()  # pool, level (LicensePool.Notice), available
import_due = Signal()  # key_import, which a worker should process
