"""Numbers that identify products and licensees in a licensing service, the vendor's or ours."""

from django.core.validators import RegexValidator
from django.utils.translation import gettext_lazy as _

MAX_NUMBER = 100  # characters
# Numbers appear in URLs, and in filters, where ; and = are operators.
validate_number = RegexValidator(
    r"\A[^\s/;=?#\\%\x00-\x1f\x7f]+\Z", _("A number can’t contain spaces or any of / \\ ; = ? # %%.")
)
