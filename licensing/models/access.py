import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db import DEFAULT_DB_ALIAS, models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from licensing.models.catalog import Entity
from licensing.models.licensees import Licensee
from merchants.models import MAX_ACTOR, Merchant, UsageTracked
from vault.fields import EncryptedTextField
from vault.fingerprints import fingerprint
from work import sql


class Role(models.TextChoices):
    """Permissions of an API key, lowest first. Each role includes the ones before it."""

    LICENSEE = "ROLE_APIKEY_LICENSEE", _("Validate and transfer")
    ANALYTICS = "ROLE_APIKEY_ANALYTICS", _("Read")
    OPERATION = "ROLE_APIKEY_OPERATION", _("Change licensees and licenses")
    MAINTENANCE = "ROLE_APIKEY_MAINTENANCE", _("Change products, modules and templates")
    ADMIN = "ROLE_APIKEY_ADMIN", _("Everything")

    def reaches(self, other: "Role") -> bool:
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(other)


# Secrets and what only the portal shows are read when they are used.
DEFERRED = {"number", "fingerprint", "properties", "created_at"}


class TokenQuerySet(models.QuerySet["Token"]):
    def find(self, number: str) -> "Token | None":
        """Find a token by its secret number."""
        # Raw SQL because every request with an API key runs it, and the ORM takes as long to build the query as the
        # database to answer it.
        names = [field.attname for field in Token._meta.concrete_fields if field.attname not in DEFERRED]
        statement = f"SELECT {', '.join(names)} FROM licensing_token WHERE fingerprint = %(fingerprint)s"  # noqa: S608
        rows = sql.run_first(statement, fingerprint=fingerprint(number))
        return Token.from_db(DEFAULT_DB_ALIAS, names, rows[0]) if rows else None

    def live(self):
        return self.filter(Q(expiration_time=None) | Q(expiration_time__gt=Now()), active=True)


class Token(Entity, UsageTracked):
    """The number of an API key is a secret: clients sign in with it."""

    # Tokens of other types, such as SHOP, expire.
    LIFETIME = timedelta(days=1)

    class Type(models.TextChoices):
        DEFAULT = "DEFAULT"
        SHOP = "SHOP"
        APIKEY = "APIKEY"
        ACTION = "ACTION"

    number = EncryptedTextField(bound_to=("merchant_id", "fingerprint"), editable=False)
    fingerprint = models.BinaryField(unique=True, editable=False)
    hint = models.CharField(max_length=4, editable=False)
    token_type = models.CharField(max_length=10, choices=Type, default=Type.DEFAULT)
    name = models.CharField(max_length=100, blank=True, help_text=_("The software that uses it."))
    api_key_role = models.CharField(max_length=30, choices=Role, blank=True)
    licensee = models.ForeignKey(Licensee, models.CASCADE, null=True, blank=True, related_name="tokens")
    expiration_time = models.DateTimeField(null=True, blank=True)

    objects = TokenQuerySet.as_manager()

    class Meta(Entity.Meta):
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(token_type="APIKEY") | ~Q(api_key_role=""),  # noqa: S106
                name="licensing_an_api_key_has_a_role",
            )
        ]

    def __str__(self):
        return self.name or gettext("{type} token …{hint}").format(type=self.token_type, hint=self.hint)

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.number = self.number or str(uuid4())
        self.fingerprint, self.hint = fingerprint(self.number), self.number[-4:]
        if self.token_type != self.Type.APIKEY and not self.expiration_time:
            self.expiration_time = timezone.now() + self.LIFETIME
        super().save(*args, **kwargs)

    @property
    def is_live(self) -> bool:
        return self.active and (self.expiration_time is None or self.expiration_time > timezone.now())


class VendorLoginQuerySet(models.QuerySet["VendorLogin"]):
    def create_login(self, merchant: Merchant, name: str, **fields: Any) -> "tuple[VendorLogin, str]":
        """Create a login and return it with its password. Only a hash of the password is stored."""
        password = secrets.token_urlsafe(24)
        user_name = f"{merchant.slug}.{name}"
        password_hash = VendorLogin.hash_password(password)
        return self.create(merchant=merchant, user_name=user_name, password_hash=password_hash, **fields), password

    def authenticate(self, user_name: str, password: str) -> "VendorLogin | None":
        login = self.filter(user_name=user_name, revoked_at=None).select_related("merchant").first()
        stored = bytes(login.password_hash) if login else b""
        return login if hmac.compare_digest(stored, VendorLogin.hash_password(password)) else None


class VendorLogin(UsageTracked):
    merchant = models.ForeignKey(Merchant, models.CASCADE, related_name="vendor_logins")
    user_name = models.CharField(max_length=150, unique=True)
    password_hash = models.BinaryField(editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=MAX_ACTOR, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = VendorLoginQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]

    def __str__(self):
        return self.user_name

    def revoke(self) -> None:
        VendorLogin.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=Now())

    @staticmethod
    def hash_password(password: str) -> bytes:
        # Passwords are generated from 192 random bits and can't be guessed, so a fast hash is enough.
        return hashlib.sha256(password.encode()).digest()
