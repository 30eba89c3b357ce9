"""Reads what the e-mails of a batch need, in a fixed number of statements."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from django.core.mail import EmailMultiAlternatives
from django.db.models import F, Q

from delivery.composition import EmailContent, EmailItem, Texts, render_email
from delivery.events import delivery_payload
from delivery.models import Delivery
from merchants.models import EmailTemplate
from orders.localization import DEFAULT_LANGUAGE
from orders.models import ActivationCode, Order, OrderItem
from orders.subscriptions import known_first_licenses_by_item
from webhooks.models import WebhookEndpoint, WebhookEvent
from webhooks.payloads import Payload
from webhooks.sending import subscribed_endpoints
from work import request_ids, sql

# Large columns of an order that no e-mail needs.
UNUSED = ("content", "additional_parameters", "customer_text")
READ_STATES = """
SELECT delivery_delivery.id AS delivery, delivery_delivery.attempts, orders_order.xmin::text AS order_version,
    page.delivery_allowed, ARRAY(
        SELECT code.id FROM delivery_deliveredcode JOIN orders_activationcode AS code ON code.id = code_id
        WHERE delivery_id = delivery_delivery.id AND withdrawn_at IS NULL ORDER BY code.id
    ) AS codes
FROM delivery_delivery
JOIN orders_order ON orders_order.id = delivery_delivery.order_id
JOIN merchants_checkoutpage AS page ON page.id = checkout_page_id
WHERE delivery_delivery.id = ANY(ARRAY(SELECT json_array_elements_text(%(deliveries)s::json)::bigint))
"""


class State(NamedTuple):
    """What may change between reading an e-mail's facts and sending it. If it hasn't, the facts still hold."""

    delivery: int
    attempts: int  # changes with the lease
    order_version: str  # PostgreSQL's xmin changes with each update of the row
    delivery_allowed: bool
    codes: list[int]


@dataclass
class Facts:
    state: State
    order: Order
    codes: dict[OrderItem, list[ActivationCode]]
    parent_codes: dict[int, list[ActivationCode]]  # by the item's primary key
    still_to_come: list[tuple[OrderItem, int]]
    texts: Texts
    payloads: list[Payload]
    endpoints: list[WebhookEndpoint]

    def content(self) -> EmailContent:
        """Decrypt the codes. Raises DecryptionError."""
        email_items = [
            EmailItem.build(item, codes, self.parent_codes.get(item.pk, [])) for item, codes in self.codes.items()
        ]
        return EmailContent(self.order, email_items, self.still_to_come)

    def recipients(self, delivery: Delivery) -> list[str]:
        merchant = self.order.merchant
        return merchant.test_recipients(delivery.recipient) if merchant.is_test else [delivery.recipient]

    def compose(self, delivery: Delivery) -> EmailMultiAlternatives:
        """Return the e-mail. Raises DecryptionError."""
        message = render_email(self.content(), self.texts)
        message.to = self.recipients(delivery)
        message.extra_headers["Message-ID"] = delivery.message_id
        if self.order.shop_request_id:
            message.extra_headers[request_ids.HEADER] = self.order.shop_request_id
        return message


def read_states(deliveries: list[int]) -> dict[int, State]:
    return {row.delivery: State(*row) for row in sql.run(READ_STATES, deliveries=deliveries)}


def read_facts(deliveries: Sequence[Delivery]) -> dict[int, Facts]:
    """Return the facts by the delivery's primary key, and set each delivery's order to its current row."""
    # First, so that a change from now on makes the state differ.
    states = read_states([delivery.pk for delivery in deliveries])
    orders = _read_orders(deliveries)
    items = _read_items(orders)
    codes = _read_codes(deliveries)
    templates = _read_templates(orders, items.values())
    endpoints = subscribed_endpoints({order.merchant_id for order in orders.values()}, WebhookEvent.PRODUCT_DELIVERED)

    texts = {}
    for delivery in deliveries:
        delivery.order = orders[delivery.order_id]
        own = [template for template in templates if template.merchant_id == delivery.order.merchant.vendor_id]
        texts[delivery.pk] = Texts.choose(own, delivery.order.customer_language)
    renewals = {
        item.pk: item
        for delivery in deliveries
        for item in (items[code.item_id] for code in codes[delivery.pk])
        if item.subscription_id and "{PARENT_KEY}" in texts[delivery.pk].body(item.product_id)
    }
    parent_codes = _read_parent_codes(renewals.values())

    facts = {}
    for delivery in deliveries:
        own_items = [item for item in items.values() if item.order_id == delivery.order_id]
        own_codes = {
            items[pk]: list(group) for pk, group in groupby(codes[delivery.pk], key=lambda code: code.item_id)
        }
        facts[delivery.pk] = Facts(
            states[delivery.pk],
            delivery.order,
            own_codes,
            parent_codes,
            _still_to_come(own_items),
            texts[delivery.pk],
            delivery_payload(delivery, {item: len(group) for item, group in own_codes.items()}),
            endpoints[delivery.order.merchant_id],
        )
    return facts


def _read_orders(deliveries: Sequence[Delivery]) -> dict[int, Order]:
    orders = Order.objects.filter(pk__in={delivery.order_id for delivery in deliveries})
    return orders.select_related("merchant__logo", "checkout_page").defer("merchant__logo__image", *UNUSED).in_bulk()


def _read_items(orders: dict[int, Order]) -> dict[int, OrderItem]:
    items = OrderItem.objects.filter(order__in=orders).select_related("product", "fulfillment").order_by("pk")
    found = {item.pk: item for item in items.with_code_count()}
    for item in found.values():
        item.order = orders[item.order_id]
    return found


def _read_codes(deliveries: Sequence[Delivery]) -> dict[int, list[ActivationCode]]:
    """Return the live codes of each delivery, by item and unit."""
    codes = ActivationCode.objects.filter(deliveredcode__delivery__in=deliveries).order_by("item", "unit")
    found: dict[int, list[ActivationCode]] = defaultdict(list)
    for code in codes.select_related("replaces").defer("replaces__code").annotate(mail=F("deliveredcode__delivery")):
        found[code.mail].append(code)
    return found


def _read_templates(orders: dict[int, Order], items: Iterable[OrderItem]) -> list[EmailTemplate]:
    languages = {order.customer_language for order in orders.values()} | {DEFAULT_LANGUAGE}
    of_product = Q(product=None) | Q(product__in={item.product_id for item in items})
    merchants = {order.merchant.vendor_id for order in orders.values()}
    return list(EmailTemplate.objects.filter(of_product, merchant__in=merchants, language__in=languages).current())


def _read_parent_codes(items: Iterable[OrderItem]) -> dict[int, list[ActivationCode]]:
    by_merchant = defaultdict(list)
    for item in items:
        by_merchant[item.order.merchant_id].append(item)
    return {pk: codes for own in by_merchant.values() for pk, codes in known_first_licenses_by_item(own).items()}


def _still_to_come(items: list[OrderItem]) -> list[tuple[OrderItem, int]]:
    ours = (item for item in items if not (hasattr(item, "fulfillment") and item.fulfillment.sent_by_vendor))
    return [(item, item.units - item.code_count) for item in ours if item.units > item.code_count]  # type: ignore[attr-defined]
