"""How an order stands: one sentence, the look of its badge, and at most one action that helps."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, ngettext

from delivery.models import Delivery
from delivery.resending import why_not_resend
from fulfillment.holds import UNTIL_APPROVED
from fulfillment.models import Fulfillment, FulfillmentMethod
from orders.kinds import SOURCES
from orders.models import Order, OrderItem
from portal.templatetags.portal import at, look, when
from work.stored_texts import show_stored

if TYPE_CHECKING:
    from portal.orders.desk import Desk

# Looks by urgency. Of several facts, the most urgent one decides about the badge and the action.
URGENCY = ["idle", "good", "busy", "warn", "bad"]


@dataclass(frozen=True)
class Action:
    label: str
    url: str
    icon: str
    how: str = "dialog"  # or `post`, or `link`


@dataclass(frozen=True)
class Headline:
    state: str  # a key of portal.templatetags.portal.LOOKS
    text: str  # HTML if it is a SafeString
    action: Action | None = None
    is_fix: bool = True  # whether the action helps with what makes the state urgent

    @property
    def look(self) -> str:
        return look(self.state)

    @property
    def is_urgent(self) -> bool:
        return self.is_fix and self.look in {"warn", "bad"}


def headline(desk: "Desk", *, can_be_mapped: bool) -> Headline:
    """Summarize an order whose history has been read (fulfillment.history)."""
    order = desk.order
    if order.status != Order.Status.PAID:
        return _not_paid(order)
    if order.is_held:
        return _held(desk)
    items = list(order.items.all())
    facts = [*_mails(desk, items), *_missing(desk, items), *_others(desk, items, can_be_mapped)]
    if not facts:
        return Headline("done", gettext("Nothing to do."))
    first = max(facts, key=lambda fact: URGENCY.index(fact.look))
    action = first.action or next((fact.action for fact in facts if fact.action), None)
    text = format_html("{} " * len(facts), *(fact.text for fact in facts)).strip()
    return Headline(first.state, mark_safe(text), action, is_fix=action is first.action)  # noqa: S308 (format_html escapes)


def _not_paid(order: Order) -> Headline:
    if order.status == Order.Status.UNPAID:
        return Headline("unpaid", gettext("Not paid yet. Its licenses follow when the shop reports the payment."))
    if order.status == Order.Status.TERMINATED:
        return Headline("terminated", gettext("Terminated. Its licenses are no longer sent."))
    refunds = [refund for refund in order.refunds.all() if not refund.undone_at]
    if refunds:
        text = gettext("Refunded in full {ago}. Its licenses are no longer sent.")
        return Headline("deleted", format_html(text, ago=when(refunds[-1].refunded_at)))
    return Headline("deleted", gettext("Deleted without a payment. It gets no licenses."))


def _held(desk: "Desk") -> Headline:
    text = gettext("This order is being checked. It gets no licenses until you approve it.")
    if desk.order.held_until != UNTIL_APPROVED:
        text = format_html(
            gettext("This order is being checked. It gets no licenses until {time}, or until you approve it."),
            time=at(desk.order.held_until),
        )
    return Headline("held", text, Action(gettext("Approve"), desk.url("approve"), "check2"))


# E-mails


def _mails(desk: "Desk", items: list[OrderItem]) -> Iterator[Headline]:
    """What became of the last e-mail, or of the last that failed and whose codes no later e-mail has."""
    order = desk.order
    codes = sum(item.code_count for item in items)  # type: ignore[attr-defined]
    if not codes:
        return
    refusal = why_not_resend(order, saved=True)
    mail = _decisive(list(order.deliveries.all()))
    resend = None if refusal else resend_action(desk, codes)
    if not order.email:
        yield Headline("none", refusal)
    elif mail is None:
        text = gettext("{licenses} saved, but not e-mailed.").format(licenses=_licenses(codes))
        yield Headline("waiting", f"{text} {refusal}".strip(), resend)
    elif mail.recipient != order.email and mail.status != Delivery.Status.QUEUED:  # queued ones go to the new address
        text = gettext("{licenses} went to {before}. Nothing has been sent to {email} yet.")
        facts = {"licenses": _licenses(mail.code_count), "before": mail.recipient, "email": order.email}
        yield Headline("waiting", text.format(**facts), resend)
    else:
        yield _outcome(desk, mail, None if refusal else resend, items)


def resend_action(desk: "Desk", codes: int) -> Action:
    label = gettext("Resend all") if codes > 1 else gettext("Resend")
    return Action(label, desk.url("resend-all"), "send")


def _decisive(mails: list[Any]) -> Any:
    covered, kept = 0, [mail for mail in mails if mail.status != Delivery.Status.CANCELED]
    for mail in reversed(kept):
        if mail.code_count > covered and mail.status in _LOST:
            return mail
        covered = max(covered, mail.code_count)
    return kept[-1] if kept else None


_LOST = {*Delivery.RETURNED, Delivery.Status.FAILED, Delivery.Status.COMPLAINED}


def _outcome(desk: "Desk", mail: Any, resend: Action | None, items: list[Any]) -> Headline:
    status = Delivery.Status
    count, codes = mail.code_count, sum(item.code_count for item in items)
    text = {
        status.QUEUED: gettext("{licenses} on the way to {email}."),
        status.SENT: gettext("{licenses} sent to {email} {ago}."),
        status.DELIVERED: gettext("{licenses} delivered to {email} {ago}."),
        status.OPENED: gettext("{licenses} sent to {email} {ago} and opened."),
        status.BOUNCED: gettext("{licenses} sent to {email} {ago}; the e-mail bounced{reason}."),
        status.REJECTED: gettext("{licenses} sent to {email} {ago}; the e-mail was rejected{reason}."),
        status.COMPLAINED: gettext("{licenses} sent to {email} {ago}; the customer marked the e-mail as spam."),
        status.FAILED: gettext("{licenses} couldn’t be e-mailed to {email}{reason}."),
    }[mail.status]
    if mail.status == status.QUEUED and mail.reason:
        text = gettext("{licenses} not sent to {email} yet{reason}. We keep trying.")
    if mail.status in Delivery.SUCCESSFUL and count < codes == sum(item.mailed_count for item in items):
        # Such as after one of them was replaced.
        count, text = codes, gettext("{licenses} sent to {email}, the last {ago}.")
    facts = {
        "licenses": _licenses(count),
        "email": desk.order.email,
        "ago": when(mail.sent_at or mail.ended_at or mail.created_at),
        "reason": f": {show_stored(mail.reason).rstrip('.')}" if mail.reason else "",
    }
    action = None if mail.status == status.QUEUED else resend
    if resend and mail.status in _LOST:
        action = Action(gettext("Fix address and resend"), desk.url("fix-address"), "pencil")
    return Headline(mail.status, format_html(text, **facts), action)


def _licenses(count: int) -> str:
    return ngettext("{count} license", "{count} licenses", count).format(count=f"{count:,}")


# Licenses


def _missing(desk: "Desk", items: list[OrderItem]) -> Iterator[Headline]:
    """What the items without all their codes wait for. Names the most urgent one."""
    missing = [item for item in items if not item.fulfillment.is_done]
    held = [item for item in missing if item.has_held_codes]  # type: ignore[attr-defined]
    failed = [item for item in missing if item.fulfillment.status == Fulfillment.Status.FAILED]
    waiting = [item for item in missing if item.fulfillment.status == Fulfillment.Status.WAITING]
    for found, describe in ((held, _held_code), (failed, _failed), (waiting, _waiting)):
        if found:
            yield describe(desk, found)
            return
    if missing:
        count = sum(item.units - item.code_count for item in missing)  # type: ignore[attr-defined]
        yield Headline("pending", gettext("{licenses} being issued.").format(licenses=_licenses(count)))
    for item in items:
        if item.fulfillment.sent_by_vendor:
            sender = next((kind.sender for kind in SOURCES.values() if kind.sender), "vendor")
            text = gettext("The {sender} sends the license of {product} directly.")
            yield Headline("done", text.format(sender=sender, product=item.product.name))
            return


def _held_code(desk: "Desk", items: list[OrderItem]) -> Headline:
    text = gettext("A code of {product} is held: is it a license or an error message?")
    action = Action(gettext("Check the code"), desk.url_of_item(items[0]), "eye", "link")
    return Headline("held", text.format(product=items[0].product.name), action)


def _failed(desk: "Desk", items: list[OrderItem]) -> Headline:
    item = items[0]
    if len(items) == 1:
        text = gettext("No license for {product}: {reason}")
        action = Action(gettext("Retry"), desk.url("retry", item.pk), "arrow-repeat", "post")
    else:
        text = gettext("{count} items failed. {product}: {reason}")
        action = Action(gettext("Retry all"), desk.url("retry-all"), "arrow-repeat", "post")
    facts = {"count": len(items), "product": item.product.name}
    return Headline("failed", format_html(text, reason=_reason(desk, item, _sources(desk, item)), **facts), action)


def _waiting(desk: "Desk", items: list[OrderItem]) -> Headline:
    item = items[0]
    sources = _sources(desk, item)
    missing = item.units - item.code_count  # type: ignore[attr-defined]
    text = ngettext(
        "{count} license of {product} is missing. {reason}",
        "{count} licenses of {product} are missing. {reason}",
        missing,
    )
    facts = {"count": f"{missing:,}", "product": item.product.name, "reason": _reason(desk, item, sources)}
    return Headline("waiting", format_html(text, **facts), _remedy(desk, item, sources))


def _sources(desk: "Desk", item: OrderItem) -> list[Any]:
    methods = list(item.product.fulfillment_methods.with_places().order_by("position"))
    methods = methods or FulfillmentMethod.objects.for_all(item.product)
    return [method.kind.for_order(desk.order) for method in methods]


def _reason(desk: "Desk", item: OrderItem, sources: list[Any]) -> SafeString:
    """The reason, with a link to each place that it names."""
    reason = escape(show_stored(item.fulfillment.reason))
    for source in {str(source.place): source for source in sources}.values():
        url = desk.url_of_place(source.place)
        named = re.search(rf"[“„«]\s?{re.escape(escape(str(source.place)))}\s?[”“»]", reason)  # in any language
        if url and named:
            link = f'<a href="{escape(url)}">{named[0]}</a>'
            reason = mark_safe(reason[: named.start()] + link + reason[named.end() :])  # noqa: S308 (escaped)
    return reason


def _remedy(desk: "Desk", item: OrderItem, sources: list[Any]) -> Action | None:
    for source in sources:
        match source.remedy:
            case "keys" if url := desk.url_of_import(source.place):
                return Action(gettext("Add keys"), url, "upload", "link")
            case "codes":
                return Action(gettext("Enter codes"), desk.url("codes", item.pk), "pencil")
            case "retry":
                return Action(gettext("Retry"), desk.url("retry", item.pk), "arrow-repeat", "post")
    return None


def _others(desk: "Desk", items: list[OrderItem], can_be_mapped: bool) -> Iterator[Headline]:
    if can_be_mapped:
        text = gettext("It has items whose products exist now.")
        yield Headline("ready", text, Action(gettext("Map to products"), desk.url("map"), "arrow-repeat", "post"))
    elif not items:
        yield Headline("unmapped", gettext("It has no item of yours, so there is nothing to send."))
