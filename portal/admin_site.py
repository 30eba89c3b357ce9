from django.contrib import admin


class SupportSite(admin.AdminSite):
    site_header = "Keywell support"
    site_title = "Keywell"
    index_title = "Support"
    site_url = None
