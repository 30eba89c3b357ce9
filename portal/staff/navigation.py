"""The admin's sidebar: what support staff use often, by section, and what each of them may see."""

from typing import Any

from django.apps import apps
from django.contrib.admin import AdminSite
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from outbound.models import Upstream
from portal.navigation import Text

SERVERS = "servers"  # every kind of server that codes come from
# Models, or pages of the site. The desk lists all other models.
GROUPS: list[tuple[Text, list[str | tuple[Text, str]]]] = [
    (
        "",
        [
            (_("Desk"), "admin:index"),
            "orders.Order",
            "fulfillment.SetupRequest",
            "merchants.Merchant",
            (_("Status"), "admin:status"),
        ],
    ),
    (_("Stock"), ["pools.LicensePool", "pools.LicenseKey", "merchants.Product"]),
    (_("Sources"), [SERVERS, "licensing.Licensee"]),
    (_("Connections"), [(_("Shops"), "shops.Connection"), "webhooks.WebhookEndpoint", "outbound.OutgoingRequest"]),
    (_("E-mails"), ["delivery.Delivery", "merchants.EmailTemplate", "notices.MerchantNotice"]),
    (_("People"), ["merchants.User", "merchants.Invitation", "merchants.ApiKey"]),
    (_("System"), ["work.Incident", (_("Mailbox"), "mailbox")]),
]


def read_groups(site: AdminSite, request: Any, *, has_mailbox: bool) -> list[dict[str, Any]]:
    groups = []
    servers = [kind._meta.label for kind in Upstream.kinds().values()]
    for title, entries in GROUPS:
        names = [name for entry in entries for name in (servers if entry == SERVERS else [entry])]
        pages = [page for name in names if (page := _read_page(site, request, name, has_mailbox=has_mailbox))]
        if pages:
            groups.append({"title": title, "pages": pages})
    return groups


def _read_page(site: AdminSite, request: Any, entry: Any, *, has_mailbox: bool) -> dict[str, Any] | None:
    title, name = entry if isinstance(entry, tuple) else ("", entry)
    if "." not in name:
        if name == "mailbox" and not has_mailbox:
            return None
        url = reverse(name)
        return {"title": title, "url": url, "is_current": request.path == url}
    model = apps.get_model(name)
    if not may_view(site, request, model):
        return None
    url = list_url(model)
    title = title or capfirst(model._meta.verbose_name_plural)
    return {"title": title, "url": url, "is_current": request.path.startswith(url)}


def may_view(site: AdminSite, request: Any, model: Any) -> bool:
    return bool(site._registry[model].has_view_permission(request))


def list_url(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def object_url(model: Any, pk: int) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[pk])
