"""Composes a sent e-mail again, as the customer got it but with codes and link masked.

What may differ from the original: docs/decisions/0051-sent-emails-are-composed-again.md.
"""

from collections import defaultdict
from datetime import datetime

from django.core.mail import EmailMultiAlternatives
from django.db.models import Count, Q, QuerySet

from delivery.composition import EmailContent, EmailItem, Texts, render_email
from delivery.models import Delivery
from merchants.models import EmailTemplate
from orders.localization import DEFAULT_LANGUAGE
from orders.models import ActivationCode, Order, OrderEvent, OrderItem
from orders.subscriptions import known_first_licenses_by_item

MASK = "••••"


def recomposable(deliveries: QuerySet[Delivery]) -> QuerySet[Delivery]:
    """The deliveries that were sent, unless the customer's data was erased."""
    return deliveries.exclude(sent_at=None).exclude(recipient="")


def recompose(delivery: Delivery) -> EmailMultiAlternatives:
    """Return the e-mail of a `recomposable` delivery with the texts, address and codes of the time it was sent."""
    sent_at: datetime = delivery.sent_at  # type: ignore[assignment]
    orders = Order.objects.select_related("merchant__logo", "checkout_page").defer("merchant__logo__image")
    # Changed below, and never saved.
    order = orders.get(pk=delivery.order_id)
    order.email = delivery.recipient
    order.link_token = MASK if _had_link(order, sent_at) else None
    items = _items(order, sent_at)
    codes = _codes(delivery, sent_at)
    texts = _texts(order, items.values(), sent_at)
    renewals = [
        items[pk] for pk in codes if items[pk].subscription_id and "{PARENT_KEY}" in texts.body(items[pk].product_id)
    ]
    parents = known_first_licenses_by_item(renewals) if renewals else {}
    email_items = [
        EmailItem(
            items[pk],
            [MASK + code.hint for code in own],
            [MASK + code.hint for code in parents.get(pk, [])],
            [code.replaces.hint for code in own if hasattr(code, "replaces")],
            frozenset(code.source for code in own),
            [code.unit for code in own],
        )
        for pk, own in codes.items()
    ]
    still_to_come = [
        (item, item.units - item.code_count)  # type: ignore[attr-defined]
        for item in items.values()
        if item.units > item.code_count and not item.fulfillment.sent_by_vendor  # type: ignore[attr-defined]
    ]
    message = render_email(EmailContent(order, email_items, still_to_come), texts)
    message.to = [delivery.recipient]
    return message


def _had_link(order: Order, sent_at: datetime) -> bool:
    kinds = [OrderEvent.Kind.LINK_REVOKED, OrderEvent.Kind.LINK_RENEWED]
    last = order.events.filter(kind__in=kinds, happened_at__lte=sent_at).order_by("pk").last()
    return last is None or last.kind == OrderEvent.Kind.LINK_RENEWED


def _items(order: Order, sent_at: datetime) -> dict[int, OrderItem]:
    """The order's items with the number of codes they had then."""
    had = Q(activation_codes__saved_at__lte=sent_at) & (
        Q(activation_codes__withdrawn_at=None) | Q(activation_codes__withdrawn_at__gt=sent_at)
    )
    items = order.items.select_related("product", "fulfillment").annotate(code_count=Count("activation_codes", had))
    found: dict[int, OrderItem] = {item.pk: item for item in items.order_by("pk")}
    for item in found.values():
        item.order = order
    return found


def _codes(delivery: Delivery, sent_at: datetime) -> dict[int, list[ActivationCode]]:
    """The codes that the e-mail contained, by item, without their texts."""
    codes = ActivationCode.all_codes.filter(deliveredcode__delivery=delivery).order_by("item", "unit")
    codes = codes.filter(Q(withdrawn_at=None) | Q(withdrawn_at__gt=sent_at)).select_related("replaces")
    found = defaultdict(list)
    for code in codes.defer("code", "replaces__code"):
        found[code.item_id].append(code)
    return dict(found)


def _texts(order: Order, items, sent_at: datetime) -> Texts:
    languages = {order.customer_language, DEFAULT_LANGUAGE}
    versions = EmailTemplate.objects.filter(
        Q(product=None) | Q(product__in={item.product_id for item in items}),
        merchant=order.merchant.vendor_id,
        language__in=languages,
        saved_at__lte=sent_at,
    )
    return Texts.choose(versions.current(), order.customer_language)
