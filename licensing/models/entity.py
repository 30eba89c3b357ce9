"""What all that has a number has in common."""

import secrets
import string

from django.db import models
from django.db.models.functions import Now

from merchants.models import Merchant
from merchants.numbers import MAX_NUMBER, validate_number

ALPHABET = string.ascii_uppercase + string.digits


def new_number(letter: str) -> str:
    """A number for what is given none: a letter and 8 capitals or digits."""
    return letter + "".join(secrets.choice(ALPHABET) for _ in range(8))


class Entity(models.Model):
    """What a vendor has. Properties are what its software keeps here under names of its own."""

    LETTER = ""  # that numbers begin with which we make

    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="licensing_%(class)ss")
    active = models.BooleanField(default=True)
    properties = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True


class NumberedEntity(Entity):
    number = models.CharField(max_length=MAX_NUMBER, validators=[validate_number], blank=True)

    class Meta(Entity.Meta):
        abstract = True
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["merchant", "number"], name="%(app_label)s_%(class)s_number_is_unique")
        ]

    def __str__(self):
        return self.number

    def save(self, *args, **kwargs):
        self.number = self.number or new_number(self.LETTER)
        super().save(*args, **kwargs)
