"""Notices about items that need a person."""

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from fulfillment.models import Fulfillment
from notices.sending import NoticeKind, notify, register
from orders.models import Order, OrderItem


class ItemNotice(NoticeKind):
    is_unique = True

    def context(self, notice):
        item = notice.subject
        return {"item": item, "order": item.order, "fulfillment": item.fulfillment}

    def obsolete_reason(self, notice):
        item = notice.subject
        if item.order.status != Order.Status.PAID:
            return gettext("The order is {status}.").format(status=gettext(item.order.status))
        if item.fulfillment.status == Fulfillment.Status.DONE:
            return gettext("The item got its activation codes first.")
        return ""


class CodeWanted(ItemNotice):
    code, name = "code_wanted", _("activation code needed")


class ItemFailed(ItemNotice):
    code, name = "item_failed", _("fulfillment failed")


register(CodeWanted, ItemFailed)


def notify_item(item: OrderItem, kind: type[ItemNotice] = ItemFailed) -> None:
    """Notify the merchant, once per item, that it failed or needs codes from a person."""
    notify(kind, item.order.merchant, item)
