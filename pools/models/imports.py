from collections.abc import Iterator
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from merchants.models import MAX_ACTOR
from pools.models.stock import KeyBatch, LicensePool
from pools.models.upload_links import UploadLink
from vault.fields import EncryptedBinaryField


class KeyImport(models.Model):
    """A file of keys or a pasted text: first read, then reviewed by a person, then imported.

    Its encrypted content (`parts`) is kept only until the import ends.
    """

    class Status(models.TextChoices):
        READING = "reading", _("Reading")
        READY = "ready", _("Ready")  # waits for confirmation of its preview
        # Can't be read with these options; `error` and the preview's `problems` say why.
        REFUSED = "refused", _("Refused")
        IMPORTING = "importing", _("Importing")  # confirmed
        IMPORTED = "imported", _("Imported")
        FAILED = "failed", _("Failed")
        DISCARDED = "discarded", _("Discarded")

    OPEN = [Status.READING, Status.READY, Status.REFUSED, Status.IMPORTING]

    pool = models.ForeignKey(LicensePool, models.CASCADE, related_name="imports")
    status = models.CharField(max_length=10, choices=Status, default=Status.READING)
    file_name = models.CharField(max_length=255, blank=True)
    note = models.CharField(max_length=500, blank=True)
    size = models.PositiveIntegerField(help_text=_("Size of the unpacked content, in bytes."))
    uploaded_by = models.CharField(max_length=MAX_ACTOR)
    uploaded_at = models.DateTimeField(db_default=Now(), editable=False)
    link = models.ForeignKey(UploadLink, models.CASCADE, null=True, related_name="imports")
    options = models.JSONField(
        default=dict, help_text=_("How to read the content (pools/reading.py). Missing options are detected.")
    )
    preview = models.JSONField(default=dict, help_text=_("The expected result (imports.Preview), without any key."))
    error = models.CharField(max_length=500, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    confirmed_at = models.DateTimeField(null=True)
    confirmed_by = models.CharField(max_length=MAX_ACTOR, blank=True)
    ended_at = models.DateTimeField(null=True)
    # Whether the table pools_stagedkey has its encrypted keys (imports.preview_keys). No model describes this table,
    # because only COPY and set-based statements use it. It is unlogged: after a crash of PostgreSQL it is empty.
    is_staged = models.BooleanField(default=False, db_default=False, editable=False)
    batch = models.OneToOneField(KeyBatch, models.PROTECT, null=True, related_name="key_import")

    class Meta:
        indexes = [
            models.Index(
                fields=["uploaded_at"],
                condition=Q(status__in=["reading", "ready", "refused", "importing"]),
                name="import_open",
            ),
            models.Index(fields=["id"], condition=Q(is_staged=True), name="import_staged"),
        ]

    def __str__(self):
        return gettext("Import {pk} into {pool}").format(pk=self.pk, pool=self.pool)

    def get_absolute_url(self) -> str:
        return reverse("import", args=[self.pool_id, self.pk])

    @property
    def is_beyond_doubt(self) -> bool:
        """Whether a person has nothing to check in the preview: each line is a new key, without warnings."""
        preview, read_as = self.preview, self.preview.get("read_as", {})
        return (
            self.status == self.Status.READY
            and (read_as["format"], read_as["encoding"]) == ("text", "utf-8")
            and read_as.get("split") == "lines"
            and preview["new"] == preview["keys"] > 0
            and not (preview["unusable"]["count"] or preview["warnings"] or preview["fixable"])
        )


class PartQuerySet(models.QuerySet[Any]):
    def read(self) -> Iterator[bytes]:
        for number in range(self.count()):
            yield bytes(self.get(number=number).content)


class Part(models.Model):
    """A piece of an uploaded file, kept until the upload is processed."""

    number = models.PositiveIntegerField()
    content: Any  # encrypted and bound to the upload

    objects = PartQuerySet.as_manager()

    class Meta:
        abstract = True


class KeyImportPart(Part):
    key_import = models.ForeignKey(KeyImport, models.CASCADE, related_name="parts")
    content = EncryptedBinaryField(bound_to=("key_import_id", "number"))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key_import", "number"], name="one_part_of_a_number")]

    def __str__(self):
        return gettext("Part {number} of {key_import}").format(number=self.number, key_import=self.key_import)
