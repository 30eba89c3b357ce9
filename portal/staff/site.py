from functools import wraps
from urllib.parse import unquote_plus

from django.contrib import admin, messages
from django.core.exceptions import BadRequest
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from outbound.mail_files import goes_to_files
from portal.access import lacks_second_factor
from portal.staff.desk import read_desk
from portal.staff.navigation import read_groups
from portal.staff.search import search
from runtime.status import check_all
from version import version


class SupportSite(admin.AdminSite):
    site_header = _("Keywell support")
    site_title = "Keywell"
    index_title = _("Support")
    site_url = None
    enable_nav_sidebar = False  # templates/admin/bar.html has our own

    def each_context(self, request):
        context = super().each_context(request) | {"version": version()}
        if context["has_permission"]:
            has_mailbox = goes_to_files() and request.user.is_superuser
            context["staff_groups"] = read_groups(self, request, has_mailbox=has_mailbox)
        return context

    def get_urls(self):
        pages = [
            path("status/", self.admin_view(self.status), name="status"),
            path("search/", self.admin_view(self.search), name="search"),
        ]
        return [*pages, *super().get_urls()]

    def index(self, request, extra_context=None):
        context = {"title": gettext("Support desk"), **read_desk(self, request), **(extra_context or {})}
        return super().index(request, context)

    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def search(self, request):
        return search(self, request)

    def status(self, request):
        context = {"title": gettext("Status"), "findings": check_all()}
        return TemplateResponse(request, "admin/status.html", self.each_context(request) | context)

    def has_permission(self, request):
        return super().has_permission(request) and not lacks_second_factor(request.user)

    def admin_view(self, view, cacheable=False):
        """Redirect staff to set up a required second factor, instead of to the sign-in page."""
        guarded = super().admin_view(view, cacheable)

        @wraps(view)
        def with_second_factor(request, *args, **kwargs):
            if "\0" in unquote_plus(request.META.get("QUERY_STRING", "")) + request.path:
                raise BadRequest(gettext("The URL contains a NUL character."))
            if super(SupportSite, self).has_permission(request) and lacks_second_factor(request.user):
                messages.info(request, gettext("Support staff need a second factor. Set one up to continue."))
                return redirect("mfa_index")
            return guarded(request, *args, **kwargs)

        return with_second_factor
