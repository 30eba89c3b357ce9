from django.core.exceptions import ValidationError


def validate_mailable(address: str) -> None:
    """Refuse an address whose domain no mail server can be found for: one that has no form in ASCII (RFC 5891)."""
    try:
        address.rpartition("@")[2].encode("idna")
    except UnicodeError as error:
        raise ValidationError("Enter a valid email address.") from error
