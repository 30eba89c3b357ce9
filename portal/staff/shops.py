"""Connections to shops and their events in the admin. Secrets, URLs and what shops reported aren't shown there."""

from django.contrib import admin, messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from portal.staff import consequences
from portal.staff.confirmation import confirmed_action
from portal.staff.large_tables import LargeTable
from portal.staff.merchants import MerchantFilter, NoAddOrDelete, ReadOnly
from portal.templatetags.portal import badge
from shops.models import Connection, Event
from shops.processing import wake


@admin.register(Connection)
class ConnectionAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["name", "merchant", "kind", "health", "last_event", "parked", "failed", "removed_at"]
    list_filter = ["kind", ("merchant", MerchantFilter)]
    list_select_related = ["merchant"]
    search_fields = ["name"]
    readonly_fields = ["health", "last_event", "parked", "failed", "created_at", "disabled_at", "removed_at"]
    fields = [
        *("merchant", "name", "kind", "checkout_page", "number_prefix", "hold_hours", "options"),
        *readonly_fields,
        *("rejected_at", "rejected_because"),
    ]

    def get_queryset(self, request):
        return Connection.objects.with_health()

    @admin.display(description=_("Health"))
    def health(self, connection: Connection) -> str:
        return badge(connection.state.value, str(connection.state.label))

    @admin.display(description=_("Last event"))
    def last_event(self, connection: Connection):
        return connection.last_event_at or self.get_empty_value_display()

    @admin.display(description=_("Parked"))
    def parked(self, connection: Connection) -> int:
        return connection.parked

    @admin.display(description=_("Failed"))
    def failed(self, connection: Connection) -> int:
        return connection.failed


@admin.register(Event)
class EventAdmin(LargeTable, NoAddOrDelete, admin.ModelAdmin):
    list_display = ["id", "connection", "topic", "state", "cause", "reason", "created_at"]
    list_filter = ["state", "cause"]
    list_select_related = ["connection"]
    ordering = ["-pk"]
    actions = ["process_again"]
    fields = readonly_fields = (
        *("connection", "order", "key", "topic", "is_test", "state", "cause", "waits_for", "reason"),
        *("created_at", "due_at", "ended_at", "attempts"),
    )

    def get_queryset(self, request):
        return super().get_queryset(request).defer("body")

    @admin.action(description=_("Process again"), permissions=["change"])
    @confirmed_action(consequences.process_events, button=_("Process again"))
    def process_again(self, request, queryset):
        count = wake(Event.objects.filter(pk__in=queryset.values("pk")))
        text = ngettext("{count} event is being processed.", "{count} events are being processed.", count)
        self.message_user(request, text.format(count=intcomma(count)), messages.SUCCESS)
