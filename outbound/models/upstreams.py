from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Upstream(models.Model):
    """A merchant's server that codes come from. While it fails, it is paused and probed (outbound/breaker.py).

    Each kind of server has a subclass with a merchant and a name.
    """

    PROMISE: str | Promise = _("No code is issued twice.")  # why a retry is safe
    merchant: Any
    merchant_id: Any
    name: Any

    class State(models.TextChoices):
        HEALTHY = "healthy", _("Healthy")
        FAILING = "failing", _("Failing")
        PAUSED = "paused", _("Paused")

    created_at = models.DateTimeField(db_default=Now(), editable=False)

    failures = models.PositiveIntegerField(default=0, editable=False, help_text=_("Consecutive temporary failures."))
    failing_since = models.DateTimeField(null=True, editable=False, help_text=_("When it stopped giving codes."))
    paused_at = models.DateTimeField(
        null=True, editable=False, help_text=_("When it was paused. Since then it is only probed.")
    )
    probe_at = models.DateTimeField(null=True, editable=False, help_text=_("When the next probe may be sent."))
    notified_at = models.DateTimeField(
        null=True, editable=False, help_text=_("When the merchant was last notified of failed items.")
    )

    # Those that are paused, or have failed for so long that it isn't a hiccup.
    DOWN = Q(paused_at__isnull=False) | Q(failing_since__lt=Now() - timedelta(minutes=5))

    def __str__(self):
        return str(self.itself.name)

    def get_absolute_url(self) -> str:
        raise NotImplementedError

    @property
    def fix(self) -> tuple[str | Promise, str]:
        """The label and the URL of the page where a person finds out why it fails."""
        return _("See why"), self.get_absolute_url()

    @property
    def itself(self) -> "Upstream":
        """The row as an instance of its subclass."""
        kinds = self.kinds() if type(self) is Upstream else ()
        return next(filter(None, (getattr(self, name, None) for name in kinds)), self)

    @classmethod
    def kinds(cls) -> dict[str, type["Upstream"]]:
        """The subclasses, by the name of the relation from here."""
        links: Any = cls._meta.related_objects
        return {link.name: link.related_model for link in links if link.parent_link}

    @property
    def state(self) -> State:
        if self.paused_at:
            return self.State.PAUSED
        return self.State.FAILING if self.failing_since else self.State.HEALTHY

    def serves(self) -> Q:
        """A filter for fulfillments whose products take codes from it."""
        raise NotImplementedError
