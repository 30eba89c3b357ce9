from django.core.exceptions import ValidationError
from django.utils.translation import gettext


class NotTheEmailAddress:
    """Reject passwords that contain the user's e-mail address, or its local part."""

    MIN_LENGTH = 5  # a shorter local part can occur in any password

    def validate(self, password, user=None):
        email = getattr(user, "email", "").lower()
        name = email.partition("@")[0]
        if email and (email in password.lower() or len(name) >= self.MIN_LENGTH and name in password.lower()):
            raise ValidationError(gettext("The password contains your e-mail address. Choose a different password."))

    def get_help_text(self):
        return gettext("Your password can’t contain your e-mail address.")
