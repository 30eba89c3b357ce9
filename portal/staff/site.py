from functools import wraps
from urllib.parse import unquote_plus

from django.contrib import admin, messages
from django.core.exceptions import BadRequest
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from portal.access import lacks_second_factor
from version import version


class SupportSite(admin.AdminSite):
    site_header = _("Keywell support")
    site_title = "Keywell"
    index_title = "Support"
    site_url = None

    def each_context(self, request):
        return super().each_context(request) | {"version": version()}

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
