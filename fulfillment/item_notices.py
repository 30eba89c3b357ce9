"""What merchants are told about items that wait for a person."""

from fulfillment.models import Fulfillment
from notices.sending import NoticeKind, notify, register
from orders.models import Order, OrderItem


class ItemNotice(NoticeKind):
    is_only_one = True

    def context(self, notice):
        item = notice.subject
        return {"item": item, "order": item.order, "fulfillment": item.fulfillment}

    def why_past(self, notice):
        item = notice.subject
        if item.order.status != Order.Status.PAID:
            return f"The order is {item.order.status}."
        if item.fulfillment.status == Fulfillment.Status.DONE:
            return "The item got its activation codes before it went out."
        return ""


class CodeWanted(ItemNotice):
    code, name = "code_wanted", "activation code wanted"


class ItemFailed(ItemNotice):
    code, name = "item_failed", "fulfillment failed"


register(CodeWanted, ItemFailed)


def notify_item(item: OrderItem, kind: type[ItemNotice] = ItemFailed) -> None:
    """Tell the merchant once that an item has failed, or wants codes of a person."""
    notify(kind, item.order.merchant, item)
