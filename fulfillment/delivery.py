"""The customer's e-mail: composed from the products' templates, sent, and noted as sent."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from email.utils import formataddr, parseaddr
from itertools import groupby
from operator import attrgetter

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import transaction
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.utils.formats import date_format
from django.utils.html import escape, format_html, linebreaks
from django.utils.safestring import SafeString, mark_safe

from fulfillment.mail import MailError, sent
from fulfillment.models import Delivery, MerchantNotice
from merchants.email_template import fill
from orders.models import ActivationCode, Order, OrderItem

logger = logging.getLogger(__name__)

# A mail that may have been taken is not sent again at once: docs/decisions/0003-at-least-once-mail.md.
PAUSE_IF_PERHAPS_TAKEN = timedelta(minutes=10)

SUBJECT = "Your license for {PROGRAM_NAME}"
SUBJECT_OF_SEVERAL = "Your licenses of order {ORDER_ID}"
GREETING = "Hello {FULLNAME},\n\nthank you for your order {ORDER_ID}."
SECTION = "{PROGRAM_NAME} × {QUANTITY}\n\n{KEY}"
CLOSING = "All about your order: {ORDER_URL}"


def deliver(pk: int) -> None:
    """Make one attempt at a delivery that is due.

    Between the mail server's answer and the commit of `end` lies the one window in which a crash makes the customer
    get a mail twice (docs/decisions/0003-at-least-once-mail.md). Nothing else may stand between the two.
    """
    delivery = Delivery.objects.claim(pk)
    if delivery is None:
        return
    if reason := _why_not(delivery.order):
        delivery.end(status=Delivery.Status.CANCELED, reason=reason)
        return

    delivery.readdress()
    try:
        with sent(compose(delivery)) as message_id:
            delivery.end(status=Delivery.Status.SENT, reason="", sent_at=Now(), message_id=message_id[:255])
    except MailError as error:
        _note_failure(delivery, error)
    except Exception:
        logger.exception("%s will be tried again", delivery)
        _note_failure(delivery, MailError("Something failed on our side; the log says what."))


def _why_not(order: Order) -> str:
    if order.status != Order.Status.PAID:
        return f"The order is {order.status}."
    if not order.checkout_page.delivery_allowed:
        return f"Delivery is not allowed for the checkout page “{order.checkout_page}”."
    return ""


def _note_failure(delivery: Delivery, error: MailError) -> None:
    if not (error.permanent or delivery.is_last_attempt):
        delivery.postpone(str(error), at_least=PAUSE_IF_PERHAPS_TAKEN if error.perhaps_taken else timedelta(0))
        return
    with transaction.atomic():
        if delivery.end(status=Delivery.Status.FAILED, reason=str(error)[:500]):
            notice = MerchantNotice.objects.create(
                merchant=delivery.order.merchant, kind=MerchantNotice.Kind.DELIVERY_FAILED, delivery=delivery
            )
            notice.nudge()


@dataclass(frozen=True)
class Enclosed:
    """An order item with those of its codes that one mail holds."""

    item: OrderItem
    codes: list[ActivationCode]
    missing: int

    def values(self) -> dict[str, str]:
        """What each tag of merchants.email_template.TAGS stands for."""
        order = self.item.order
        return {
            "KEY": "\n".join(code.code for code in self.codes),
            "PARENT_KEY": "\n".join(_parent_codes(self.item)),
            "ORDER_ID": order.number,
            "PROGRAM_NAME": self.item.product.name,
            "QUANTITY": str(self.item.quantity),
            "PRICE_ALL": f"{self.item.total_price} {order.currency}",
            "DATE": date_format(order.paid_at, "j F Y") if order.paid_at else "",
            "FULLNAME": order.customer_name or order.email,
            "FNAME": order.first_name,
            "LNAME": order.last_name,
            "EMAIL": order.email,
            "COMPANY": order.company,
            "COUNTRY": order.country,
            "ORDER_URL": order.url,
        }

    def still_to_come(self) -> str:
        if not self.missing:
            return ""
        return f"\n\n{self.missing} of {self.item.units} activation codes are still to come."


def _parent_codes(item: OrderItem) -> list[str]:
    if not item.parent_order:
        return []
    codes = ActivationCode.objects.filter(
        item__order__merchant=item.order.merchant,
        item__order__number=item.parent_order,
        item__subscription=item.subscription,
    )
    return [code.code for code in codes]


def compose(delivery: Delivery) -> EmailMultiAlternatives:
    """Return the mail, text and HTML, with the codes that the delivery holds at this moment."""
    order = delivery.order
    enclosed = _enclosed(delivery)
    values = [one.values() for one in enclosed]
    blocks = list(_blocks(enclosed, values))

    subject = SUBJECT if len(enclosed) == 1 else SUBJECT_OF_SEVERAL
    subject = fill(enclosed[0].item.product.email_subject or subject, values[0] | {"KEY": ""})
    html = mark_safe("".join(_html(template, tags) for template, tags in blocks))  # noqa: S308 (each part is escaped)
    message = EmailMultiAlternatives(
        subject=" ".join(subject.split()),
        body="\n\n".join(fill(template, tags) for template, tags in blocks) + "\n",
        from_email=formataddr((order.merchant.name, parseaddr(settings.DEFAULT_FROM_EMAIL)[1])),
        to=[delivery.recipient],
        reply_to=[order.merchant.reply_to] if order.merchant.reply_to else None,
        headers={"Message-ID": delivery.message_id, "Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(
        render_to_string("emails/delivery.html", {"body": html, "order": order, "subject": message.subject}),
        "text/html",
    )
    return message


def _enclosed(delivery: Delivery) -> list[Enclosed]:
    codes = delivery.codes.select_related("item__product", "item__subscription").order_by("item", "unit")
    enclosed = []
    for item, group in groupby(codes, key=attrgetter("item")):
        item.order = delivery.order
        enclosed.append(Enclosed(item, list(group), missing=len(item.missing_units())))
    return enclosed


def _blocks(enclosed: list[Enclosed], values: list[dict[str, str]]):
    """The mail's parts, templates with what fills them: merchants' own texts first, then ours for the other items."""
    ours = [(one, tags) for one, tags in zip(enclosed, values, strict=True) if not one.item.product.email_body]
    for one, tags in zip(enclosed, values, strict=True):
        if one.item.product.email_body:
            yield one.item.product.email_body + one.still_to_come(), tags
    if ours:
        yield GREETING, ours[0][1]
        for one, tags in ours:
            yield SECTION + one.still_to_come(), tags
        yield CLOSING, ours[0][1]


def _html(template: str, values: dict[str, str]) -> SafeString:
    # The template's own line breaks make paragraphs; those of a value stay inside it.
    safe = {name: MARKUP.get(name, _lines)(value) for name, value in values.items()}
    return mark_safe(fill(linebreaks(template, autoescape=True), safe))  # noqa: S308 (both parts are escaped)


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _link(url: str) -> str:
    return format_html('<a href="{}">{}</a>', url, url) if url.startswith(("https://", "http://")) else escape(url)


def _code(codes: str) -> str:
    lines = "<br>".join(_link(line) for line in codes.split("\n"))
    return f'<code style="font: 16px/1.6 ui-monospace, Menlo, Consolas, monospace">{lines}</code>'


MARKUP: dict[str, Callable[[str], str]] = {"KEY": _code, "PARENT_KEY": _code, "ORDER_URL": _link}
