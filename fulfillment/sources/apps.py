from importlib import import_module

from django.apps import AppConfig

from orders.kinds import SOURCES


class SourceConfig(AppConfig):
    """The application of a kind of source. The class of that name in its module `source` is registered."""

    default = False  # the kinds are
    source = ""

    def ready(self):
        kind = getattr(import_module(f"{self.name}.source"), self.source)
        SOURCES[kind.code] = kind
