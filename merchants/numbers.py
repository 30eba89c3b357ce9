"""Numbers of licensing: a vendor's service gives them to products and licensees, and ours does."""

from django.core.validators import RegexValidator

MAX_NUMBER = 100  # characters
# It stands in addresses, and in filters, where ; and = have a meaning.
validate_number = RegexValidator(
    r"\A[^\s/;=?#\\%\x00-\x1f\x7f]+\Z", "A number has no spaces and none of the characters / \\ ; = ? # %%."
)
