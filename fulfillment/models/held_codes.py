from django.db import models
from django.db.models.functions import Now

from orders.models import OrderItem
from outbound.models import Upstream
from vault.fields import EncryptedTextField


class HeldCode(models.Model):
    """A code that resembles none of a server's earlier ones, until a person releases or refuses it.

    While it is here, the server is not asked for the item's codes: it might give another one.
    """

    source = models.CharField(max_length=20, help_text="The kind: its code in fulfillment/sources.")
    upstream = models.ForeignKey(Upstream, models.CASCADE, related_name="held_codes")
    item = models.ForeignKey(OrderItem, models.CASCADE, related_name="held_codes")
    unit = models.PositiveIntegerField()
    code = EncryptedTextField(bound_to=("item_id", "unit"))
    held_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "unit"], name="one_held_code_per_unit")]

    def __str__(self):
        return f"A held code for unit {self.unit} of {self.item}"
