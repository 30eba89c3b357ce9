from django.apps import AppConfig
from django.db.models.signals import post_migrate


class VaultConfig(AppConfig):
    name = "vault"

    def ready(self):
        from vault.fingerprints import ensure_key

        post_migrate.connect(ensure_key, sender=self)
