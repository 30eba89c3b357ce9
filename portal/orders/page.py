"""An order's page and what is done there. Each act works at a desk, the portal's or the admin's."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from delivery import resending
from delivery.models import Delivery
from fulfillment import actions, held_codes
from fulfillment.models import HeldCode
from orders.models import ActivationCode, Order, OrderItem, named
from orders.services import (
    CodeWithdrawn,
    RefundRefused,
    ReinstateRefused,
    correct_email,
    map_items,
    refund,
    reinstate,
    renew_link,
    reveal,
    revoke_link,
)
from portal.access import member_required
from portal.confirm import Confirmation, Question, confirmed
from portal.orders.desk import Desk
from portal.orders.forms import CodesForm, CustomerEmailForm, RefundForm, ReplaceForm
from work.refusals import Refused

Act = Callable[..., HttpResponse]


def for_member(act: Act) -> Act:
    """The act as a view of the portal, on an order of the member's own merchant."""

    @wraps(act)
    @never_cache
    @member_required()
    def view(request, number, **kwargs):
        orders = request.merchant.orders.select_related("merchant", "checkout_page")
        order = get_object_or_404(orders, named(number, "number"))
        # Who works for several merchants may have a page of each open: what is done there is this one's.
        query = {"merchant": request.merchant.slug} if len(request.memberships) > 1 else {}
        return perform(act, request, Desk(order, str(request.user), "order", order.key, query), **kwargs)

    return view


def perform(act: Act, request: HttpRequest, desk: Desk, **kwargs: Any) -> HttpResponse:
    """Act at a desk; a refusal is shown above the order as it stands."""
    try:
        return act(request, desk, **kwargs)
    except Refused as error:
        return refuse(request, desk, str(error))


@require_safe
def order_page(request: HttpRequest, desk: Desk) -> HttpResponse:
    return show(request, desk)


def show(
    request: HttpRequest, desk: Desk, *, status: int = 200, place: dict[str, int] | None = None, **context: Any
) -> HttpResponse:
    place = place or {name: number for name in ("items", "from") if (number := read_number(request, name)) > 1}
    context["all_history"] = request.GET.get("history") == "all"
    return render(request, desk.page, desk.context(place, **context), status=status)


def read_number(request: HttpRequest, name: str) -> int:
    text = request.GET.get(name, "")
    return int(text) if re.fullmatch(r"\d{1,8}", text, re.ASCII) else 1


def refuse(request: HttpRequest, desk: Desk, reason: str) -> HttpResponse:
    """The order as it is, and why the act was not done."""
    messages.error(request, reason)
    desk.order.refresh_from_db(fields=["status", "email"])
    return show(request, desk, status=409)


@confirmed
def correct_address(request: HttpRequest, desk: Desk) -> Confirmation:
    form = CustomerEmailForm(request.POST or None, initial={"email": desk.order.email})
    yield Question(
        title="Correct the customer’s address",
        text="Nothing is sent by this; resend the activation codes afterwards.",
        button="Correct",
        form=form,
    )
    if correct_email(desk.order, form.cleaned_data["email"], actor=desk.actor):
        return f"The address is now {desk.order.email}. What is sent from now on goes there."
    return None


@confirmed
def refund_order(request: HttpRequest, desk: Desk) -> Confirmation:
    order = desk.order
    left = order.left_to_refund()
    form = RefundForm(order, request.POST or None, initial={"amount": left, "left": left})

    if order.status != Order.Status.PAID and not form.is_valid():
        raise RefundRefused(f"The order is {order.status}, not paid.")
    yield Question(
        title=f"Refund order {order.number}",
        text=f"{left} {order.currency} are left. If all of it is refunded, the order is deleted, and its activation"
        " codes are sent to nobody any more; keys of pools stay"
        " withdrawn. This records the refund; the money is paid back in the shop.",
        button="Refund",
        danger=True,
        form=form,
    )
    data = form.cleaned_data
    changed = refund(
        order, amount=data["amount"], reference=data["reference"], actor=desk.actor, expected=data["left"]
    )
    gone = "; nothing is left, the order is deleted" if changed.status == Order.Status.DELETED else ""
    return f"{data['amount']} {order.currency} recorded as refunded{gone}."


@confirmed
def reinstate_order(request: HttpRequest, desk: Desk) -> Confirmation:
    if desk.order.status != Order.Status.DELETED:
        raise ReinstateRefused(f"The order is {desk.order.status}; only a full refund can be undone.")
    yield Question(
        title=f"Undo the refund of order {desk.order.number}?",
        text="The order is paid again. The customer’s codes and order page work again; a key that went back to stock"
        " is replaced by another one, which is e-mailed. This changes nothing in the shop: no money moves.",
        button="Undo the refund",
    )
    reinstate(desk.order, actor=desk.actor)
    return "The refund is undone: the order is paid again, and its activation codes are valid."


@confirmed
def renew_order_link(request: HttpRequest, desk: Desk) -> Confirmation:
    yield Question(
        title="Renew the link to the customer’s order page?",
        text="The link that the customer has, if any, leads nowhere from then on. The new one is in the next e-mail of"
        " this order: resend the activation codes, or have the customer ask for it at “Lost your license?”.",
        button="Renew the link",
    )
    renew_link(desk.order, actor=desk.actor)
    return "The customer’s order page has a new link. The next e-mail of this order has it."


@confirmed
def revoke_order_link(request: HttpRequest, desk: Desk) -> Confirmation:
    yield Question(
        title="Revoke the link to the customer’s order page?",
        text="Whoever has the link sees nothing any more. A new one can be made at any time.",
        button="Revoke the link",
        danger=True,
    )
    if revoke_link(desk.order, actor=desk.actor):
        return "The link is revoked: the customer’s order page is shown to nobody."
    return None


@confirmed
def resend_code(request: HttpRequest, desk: Desk, code: int) -> Confirmation:
    saved = _get_code(desk, code)
    if saved.withdrawn_at:
        raise CodeWithdrawn
    if reason := resending.why_not_resend(desk.order, saved=True):
        raise resending.ResendRefused(reason)
    yield Question(
        title="Resend the activation code?",
        text=f"Code {saved.unit} of {saved.item.product.name}, ••••{saved.hint}, is sent to {desk.order.email}.",
        button="Resend",
        back=desk.url_of(saved),
    )
    delivery, new = resending.resend(saved.item, saved, actor=desk.actor)
    if new:
        return f"The code is on its way to {delivery.recipient}. It is in the history."
    if delivery.status in Delivery.SUCCESSFUL:
        text = f"This code was sent to {delivery.recipient} a moment ago, and is not sent twice."
    else:
        text = f"An e-mail to {desk.order.email} with this code waits to be sent; it is not sent twice."
    messages.info(request, text)
    return None


@confirmed
def replace_code(request: HttpRequest, desk: Desk, code: int) -> Confirmation:
    saved = _get_code(desk, code)
    form = ReplaceForm(request.POST if request.method == "POST" else None)
    yield Question(
        title="Replace the activation code?",
        text=f"Code {saved.unit} of {saved.item.product.name}, ••••{saved.hint}, is withdrawn for good. The"
        f" customer gets another of the same pool, which is mailed to {desk.order.email}.",
        button="Replace",
        danger=True,
        form=form,
        back=desk.url_of(saved),
    )
    replacement, new = actions.replace(saved, actor=desk.actor, reason=form.cleaned_data["reason"])
    if new:
        messages.success(request, f"Replaced by ••••{replacement.hint}. {describe_email(desk.order)}")
    else:
        messages.info(request, f"It was replaced already, by ••••{replacement.hint}, and is not replaced twice.")
    return redirect(desk.url_of(replacement))


@confirmed
def issue_from_reserve(request: HttpRequest, desk: Desk, item: int) -> Confirmation:
    waiting = _get_item(desk, item)
    yield Question(
        title="Issue from the reserve?",
        text=f"What {waiting.product.name} lacks is taken from the keys that are kept back, as far as there are"
        f" any, and mailed to {desk.order.email}.",
        button="Issue",
    )
    count = actions.issue_from_reserve(waiting, actor=desk.actor)
    return f"{count} issued from the reserve. {describe_email(desk.order)}"


def describe_email(order: Order) -> str:
    if order.checkout_page.delivery_allowed:
        return f"The e-mail to {order.email} is on its way."
    return "Nothing is mailed: delivery is not allowed for its checkout page."


@confirmed
def return_code(request: HttpRequest, desk: Desk, code: int) -> Confirmation:
    saved = _get_code(desk, code)
    yield Question(
        title="Return the key to stock?",
        text=f"••••{saved.hint} was never mailed, and never shown here or on the customer’s page. It will be sold"
        " to somebody else. Your shop was told of it when it reported the payment: return it only if the shop"
        " showed it to nobody.",
        button="Return to stock",
        back=desk.url_of(saved),
        then=desk,
    )
    pool = actions.return_to_stock(saved, actor=desk.actor)
    return f"The key is back in the pool “{pool}”."


@require_POST
def reveal_code(request: HttpRequest, desk: Desk, code: int) -> HttpResponse:
    saved = _get_code(desk, code)
    return show(request, desk, place=desk.place(saved), revealed={saved.pk: reveal(saved, actor=desk.actor)})


@require_POST
def map_order(request: HttpRequest, desk: Desk) -> HttpResponse:
    count = map_items(desk.order, actor=desk.actor)
    if not count:
        return refuse(request, desk, "None of the items that are not ours has a product now.")
    messages.success(request, f"{count} item{'s' if count > 1 else ''} mapped. Their codes are on the way.")
    return redirect(desk)


@require_POST
def retry_item(request: HttpRequest, desk: Desk, item: int) -> HttpResponse:
    waiting = _get_item(desk, item)
    actions.retry(waiting, actor=desk.actor)
    messages.success(request, f"{waiting.product.name} is being tried again. What comes of it shows here in a moment.")
    return redirect(desk)


@confirmed
def enter_codes(request: HttpRequest, desk: Desk, item: int) -> Confirmation:
    wanting = _get_item(desk, item)
    form = CodesForm(wanting, request.POST or None)

    if not form.fields and not form.is_valid():
        raise actions.CodeRefused("All activation codes of this item are saved.")
    yield Question(
        title=f"Enter activation codes for {wanting.product.name}",
        text=f"They are saved in the order and mailed to {desk.order.email} at once. Those left empty go on waiting.",
        button="Save and send",
        form=form,
    )
    actions.enter_codes(wanting, form.codes(), actor=desk.actor)
    return f"Saved in {desk.order}; the e-mail to {desk.order.email} is on its way."


@confirmed
def release_code(request: HttpRequest, desk: Desk, held: int) -> Confirmation:
    code = _get_held(desk, held)
    yield Question(
        title=f"Release code {code.unit} of {code.item.product.name}?",
        text=f"It is saved and mailed to {desk.order.email}. Codes that look like it are not held again.",
        button="Release",
    )
    held_codes.release(code, actor=desk.actor)
    return f"The code is saved. {describe_email(desk.order)}"


@confirmed
def refuse_code(request: HttpRequest, desk: Desk, held: int) -> Confirmation:
    code = _get_held(desk, held)
    server = code.upstream.itself
    again = f"{server.NOUN} “{server}” is asked again"
    yield Question(
        title=f"Refuse code {code.unit} of {code.item.product.name}?",
        text=f"It is discarded, and the {again} with the same Idempotency-Key. Fix the cause there first.",
        button="Refuse and ask again",
        danger=True,
    )
    held_codes.refuse(code, actor=desk.actor)
    first = "Once you have decided on the item’s other held codes, the" if code.item.held_codes.exists() else "The"
    return f"Discarded. {first} {again}."


def _get_held(desk: Desk, pk: int) -> HeldCode:
    codes = HeldCode.objects.select_related("upstream", "item__product", "item__order", "item__fulfillment")
    return get_object_or_404(codes, pk=pk, item__order=desk.order)


def _get_code(desk: Desk, pk: int) -> ActivationCode:
    """One of the order's codes, also one that counts no more: somebody was faster than this click."""
    codes = ActivationCode.all_codes.select_related("item__product", "item__order")
    return get_object_or_404(codes, pk=pk, item__order=desk.order)


def _get_item(desk: Desk, pk: int) -> OrderItem:
    return get_object_or_404(desk.order.items.select_related("product", "fulfillment", "order"), pk=pk)


# What is done at a desk, by name, with its address below the order's.
ACTIONS: dict[str, tuple[str, Act]] = {
    "address": ("address/", correct_address),
    "refund": ("refund/", refund_order),
    "reinstate": ("reinstate/", reinstate_order),
    "renew-link": ("link/renew/", renew_order_link),
    "revoke-link": ("link/revoke/", revoke_order_link),
    "resend": ("codes/<int:code>/resend/", resend_code),
    "replace": ("codes/<int:code>/replace/", replace_code),
    "return": ("codes/<int:code>/return/", return_code),
    "reserve": ("items/<int:item>/reserve/", issue_from_reserve),
    "reveal": ("codes/<int:code>/reveal/", reveal_code),
    "map": ("map/", map_order),
    "retry": ("items/<int:item>/retry/", retry_item),
    "codes": ("items/<int:item>/codes/", enter_codes),
    "release": ("held/<int:held>/release/", release_code),
    "refuse": ("held/<int:held>/refuse/", refuse_code),
}
