from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class HeartbeatQuerySet(models.QuerySet["Heartbeat"]):
    def forget_old(self) -> None:
        """Delete those of processes that have been gone for so long that they were probably removed."""
        self.filter(beat_at__lt=Now() - Heartbeat.RETENTION).delete()


class Heartbeat(models.Model):
    """The last sign of life of a worker or of beat. In the database, so that it doesn't depend on the broker."""

    # A process counts as missing after this time, and is forgotten after that.
    TIMEOUT = timedelta(minutes=1)
    RETENTION = timedelta(hours=1)

    service = models.CharField(max_length=100, help_text="The queues that a worker serves, or “beat”.")
    node = models.CharField(max_length=255, help_text="The name of the process and its machine.")
    beat_at = models.DateTimeField(db_default=Now())

    objects = HeartbeatQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["service", "node"], name="one_heartbeat_per_process")]

    def __str__(self):
        return f"{self.service} on {self.node}"

    @staticmethod
    def record(service: str, node: str) -> None:
        Heartbeat.objects.bulk_create(
            [Heartbeat(service=service[:100], node=node[:255])],
            update_conflicts=True,
            unique_fields=["service", "node"],
            update_fields=["beat_at"],
        )


class AuditRunQuerySet(models.QuerySet["AuditRun"]):
    def open(self):
        """Recent ones that aren't done."""
        return self.filter(done_at=None, begun_at__gte=Now() - timedelta(days=1))


class AuditRun(models.Model):
    """The audit of one night."""

    TASK = "runtime.tasks.work_on_audit"
    MAX_SHOWN = 50

    night = models.DateField(unique=True)
    begun_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True, help_text="When support staff had been notified, if necessary.")
    count = models.PositiveIntegerField(default=0, help_text="The number of findings.")
    findings = models.JSONField(
        default=list, help_text="The first MAX_SHOWN findings. They hold ids and numbers only."
    )
    digest = models.CharField(max_length=64, blank=True)

    objects = AuditRunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(done_at=None) | Q(ended_at__isnull=False), name="an_audit_ends_before_it_is_done"
            )
        ]

    def __str__(self):
        return f"Audit of {self.night}"

    @property
    def unshown(self) -> int:
        return self.count - len(self.findings)

    def repeats(self) -> bool:
        """Return whether the audit before found the same."""
        before = AuditRun.objects.filter(night__lt=self.night, done_at__isnull=False).order_by("-night").first()
        return before is not None and before.digest == self.digest

    def update(self, **fields) -> None:
        AuditRun.objects.filter(pk=self.pk).update(**fields)
        self.refresh_from_db()


class Backup(models.Model):
    """A backup of this database (runtime/backups.py)."""

    made_at = models.DateTimeField(db_index=True)
    path = models.TextField()
    size = models.PositiveBigIntegerField(help_text="In bytes.")

    def __str__(self):
        return self.path
