from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from portal.staff.merchants import ReadOnly
from work.models import Incident


@admin.register(Incident)
class IncidentAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["reference", "error", "place", "times", "first_at", "last_at"]
    search_fields = ["reference"]
    search_help_text = _("Search by the reference that the user saw, such as 7F3A-21.")
    ordering = ["-last_at", "-pk"]
    exclude = ["traceback"]

    @admin.display(description=_("traceback"))
    def calls(self, incident):
        return format_html('<pre class="sent">{}</pre>', incident.traceback)

    def get_readonly_fields(self, request, obj=None):
        return [*super().get_readonly_fields(request, obj), "calls"]
