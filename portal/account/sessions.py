"""Sessions that can't be stolen by reading the database."""

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as NotBase64

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.utils import timezone

from vault.ciphers import DecryptionError, decrypt_bytes, encrypt_bytes


class SessionStore(DatabaseStore):
    """Stores sessions in the database under a hash of the cookie's key.

    The data is encrypted with VAULT_KEYS because it can contain secrets: of an authenticator app during setup, or the
    key of a password reset. Ciphertext is bound to its row; in any other row it reads as empty.
    """

    @staticmethod
    def hash_key(session_key: str | None) -> str:
        # The key has 165 random bits and can't be guessed, so a fast hash is enough. The column holds 40 characters.
        return hashlib.blake2b((session_key or "").encode(), digest_size=20).hexdigest()

    def _get_session_from_db(self):
        stored = self.model.objects.filter(session_key=self.hash_key(self.session_key), expire_date__gt=timezone.now())
        session = stored.first()
        if session is None:
            self._session_key = None
        return session

    def exists(self, session_key):
        return super().exists(self.hash_key(session_key))

    def delete(self, session_key=None):
        if session_key := session_key or self.session_key:
            super().delete(self.hash_key(session_key))

    def create_model_instance(self, data):
        session = super().create_model_instance(data)
        session.session_key = self.hash_key(session.session_key)
        return session

    def encode(self, session_dict):
        content = self.serializer().dumps(session_dict)
        return b64encode(encrypt_bytes(content, self._place())).decode()

    def decode(self, session_data):
        try:
            content = decrypt_bytes(b64decode(session_data, validate=True), self._place())
        except (DecryptionError, NotBase64):
            return {}  # the user signs in again, as after a key change
        data = self.serializer().loads(content)
        if BACKEND_SESSION_KEY in data:
            # People stay signed in who did so before MemberBackend.
            data[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
        return data

    def _place(self) -> bytes:
        return b"django_session.session_data\0" + self.hash_key(self._get_or_create_session_key()).encode()  # type: ignore[attr-defined]
