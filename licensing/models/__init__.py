"""What the licensing service keeps. A vendor is a merchant; a number is one's own, another may have it as well."""

from licensing.models.access import Role, Token, VendorLogin
from licensing.models.catalog import LicenseTemplate, LicenseType, LicensingModel, Product, ProductModule
from licensing.models.entity import new_number
from licensing.models.events import LicenseeEvent
from licensing.models.failures import FailedValidation
from licensing.models.licensees import License, Licensee, LicenseeAlias
from licensing.models.sessions import FloatingSession
from licensing.models.transactions import LicenseTransactionJoin, Transaction

__all__ = [
    "FailedValidation",
    "FloatingSession",
    "License",
    "LicenseTemplate",
    "LicenseTransactionJoin",
    "LicenseType",
    "Licensee",
    "LicenseeAlias",
    "LicenseeEvent",
    "LicensingModel",
    "Product",
    "ProductModule",
    "Role",
    "Token",
    "Transaction",
    "VendorLogin",
    "new_number",
]
