from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from portal.staff.merchants import ReadOnly
from work.models import Incident


@admin.register(Incident)
class IncidentAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["reference", "error", "place", "times", "first_at", "last_at"]
    search_fields = ["reference"]
    search_help_text = _("Search by the reference that the user saw, such as 7F3A-21.")
    ordering = ["-last_at", "-pk"]
