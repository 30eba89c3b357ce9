"""Models of the licensing service. A vendor is a merchant. Numbers are unique per vendor."""

from licensing.models.access import Role, Token, VendorLogin
from licensing.models.catalog import (
    LicenseTemplate,
    LicenseType,
    LicensingModel,
    LicensingProduct,
    ProductModule,
    new_number,
)
from licensing.models.licensees import (
    FailedValidation,
    FloatingSession,
    License,
    Licensee,
    LicenseeAlias,
    LicenseeEvent,
)
from licensing.models.transactions import LicenseTransactionJoin, Transaction
