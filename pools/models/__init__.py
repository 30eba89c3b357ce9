from pools.models.imports import KeyImport, KeyImportPart, Part
from pools.models.ledger import KeyMovement
from pools.models.stock import AVAILABLE, RESERVED, KeyBatch, LicenseKey, LicenseKeyQuerySet, LicensePool, StockChange
from pools.models.upload_links import UploadLink
