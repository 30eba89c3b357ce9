from django.core.exceptions import ValidationError


class NotTheEmailAddress:
    """Refuses a password that holds the user's own e-mail address, or the part of it that others guess first."""

    MIN_LENGTH = 5  # of that part: a shorter one may stand in any password

    def validate(self, password, user=None):
        email = getattr(user, "email", "").lower()
        name = email.partition("@")[0]
        if email and (email in password.lower() or len(name) >= self.MIN_LENGTH and name in password.lower()):
            raise ValidationError("The password contains your e-mail address. Choose another one.")

    def get_help_text(self):
        return "It must not contain your e-mail address."
