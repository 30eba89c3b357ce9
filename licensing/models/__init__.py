"""What the licensing service keeps. A vendor is a merchant; a number is one's own, another may have it as well."""

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
