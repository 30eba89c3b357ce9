"""Why validations failed, for vendors and support staff."""

from django.db import models

from licensing.models.licensees import Licensee
from merchants.models import MAX_ACTOR
from merchants.numbers import MAX_NUMBER

MAX_REASON = 300


class FailedValidation(models.Model):
    """The last failed validation of a licensee for each module, and the last one refused as a whole (no module)."""

    licensee = models.ForeignKey(Licensee, models.CASCADE, related_name="failures")
    module_number = models.CharField(max_length=MAX_NUMBER, blank=True)
    module_name = models.CharField(max_length=200, blank=True)
    licensing_model = models.CharField(max_length=20, blank=True)
    reason = models.CharField(max_length=MAX_REASON)
    failed_at = models.DateTimeField()
    asked_by = models.CharField(max_length=MAX_ACTOR)

    class Meta:
        ordering = ["-failed_at", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["licensee", "module_number"], name="licensing_one_failure_for_each_module")
        ]

    def __str__(self):
        return f"{self.module_name or 'Request'}: {self.reason}"
