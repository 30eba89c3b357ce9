"""Other people's servers that are asked for codes, and how they stand."""

from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Upstream(models.Model):
    """A server that codes come from. While it fails it is left alone, and probed (outbound/breaker.py)."""

    NOUN = ""  # what it is to its merchant
    PAGE = ""  # the address of the pages of such
    PROMISE = ""  # how a repeated request can be recognized
    merchant: Any
    callouts: Any  # the requests that were made to it

    class State(models.TextChoices):
        HEALTHY = "healthy"
        FAILING = "failing"
        PAUSED = "paused"

    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    failures = models.PositiveIntegerField(default=0, editable=False, help_text="Temporary ones, one after another.")
    failing_since = models.DateTimeField(null=True, editable=False, help_text="Since then it gave no code.")
    paused_at = models.DateTimeField(null=True, editable=False, help_text="Since then it is only probed.")
    probe_at = models.DateTimeField(null=True, editable=False, help_text="When the next request may go there.")
    told_at = models.DateTimeField(null=True, editable=False, help_text="When the merchant was told of failed items.")

    class Meta:
        abstract = True
        ordering = ["name"]

    def __str__(self):
        return self.name

    @property
    def state(self) -> State:
        if self.paused_at:
            return self.State.PAUSED
        return self.State.FAILING if self.failing_since else self.State.HEALTHY

    def serves(self) -> Q:
        """Of fulfillments, those whose products take codes from it."""
        raise NotImplementedError
