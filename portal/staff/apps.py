from importlib import import_module

from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class AdminConfig(DjangoAdminConfig):
    default_site = "portal.staff.site.SupportSite"

    def ready(self):
        names = import_module("portal.names")
        names.translate_names()  # first, because the admin imports forms, which take the names over
        super().ready()
        names.translate_columns()
