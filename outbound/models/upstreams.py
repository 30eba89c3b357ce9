"""Other people's servers that are asked for codes, and how they stand."""

from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Upstream(models.Model):
    """A server that codes come from. While it fails it is left alone, and probed (outbound/breaker.py).

    Each kind of server has a model that inherits from it, with a merchant and a name.
    """

    NOUN = ""  # what it is to its merchant
    PROMISE = ""  # how a repeated request can be recognized
    merchant: Any
    name: Any

    class State(models.TextChoices):
        HEALTHY = "healthy"
        FAILING = "failing"
        PAUSED = "paused"

    created_at = models.DateTimeField(db_default=Now(), editable=False)

    failures = models.PositiveIntegerField(default=0, editable=False, help_text="Temporary ones, one after another.")
    failing_since = models.DateTimeField(null=True, editable=False, help_text="Since then it gave no code.")
    paused_at = models.DateTimeField(null=True, editable=False, help_text="Since then it is only probed.")
    probe_at = models.DateTimeField(null=True, editable=False, help_text="When the next request may go there.")
    notified_at = models.DateTimeField(
        null=True, editable=False, help_text="When the merchant was told of failed items."
    )

    # Those that are left alone, or gave no code the last time.
    AWAY = Q(paused_at__isnull=False) | Q(failing_since__isnull=False)

    def __str__(self):
        return str(self.itself.name)

    @property
    def itself(self) -> "Upstream":
        """The row as what it is, of the model of its kind."""
        kinds = self.kinds() if type(self) is Upstream else ()
        return next(filter(None, (getattr(self, name, None) for name in kinds)), self)

    @classmethod
    def kinds(cls) -> dict[str, type["Upstream"]]:
        """The models of the kinds of servers, by the names that lead there from here."""
        links: Any = cls._meta.related_objects
        return {link.name: link.related_model for link in links if link.parent_link}

    @property
    def state(self) -> State:
        if self.paused_at:
            return self.State.PAUSED
        return self.State.FAILING if self.failing_since else self.State.HEALTHY

    def serves(self) -> Q:
        """Of fulfillments, those whose products take codes from it."""
        raise NotImplementedError
