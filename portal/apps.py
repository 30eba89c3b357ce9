from importlib import import_module

from django.apps import AppConfig
from django.conf import settings


class PortalConfig(AppConfig):
    name = "portal"

    def ready(self):
        if settings.SENTRY_DSN:
            import_module("portal.sentry").start(settings.SENTRY_DSN)
