from django.apps import AppConfig as DjangoAppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class PortalConfig(DjangoAppConfig):
    name = "portal"


class AdminConfig(DjangoAdminConfig):
    default_site = "portal.staff.site.SupportSite"
