from importlib import import_module

from django.apps import AppConfig

from orders.kinds import SOURCES


class SourceConfig(AppConfig):
    """Base configuration of a source's app. Registers the class named `source` from the app's `source` module."""

    default = False  # subclasses set it to True
    source = ""

    def ready(self):
        kind = getattr(import_module(f"{self.name}.source"), self.source)
        SOURCES[kind.code] = kind
