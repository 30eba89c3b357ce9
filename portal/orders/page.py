"""The order page and its actions. Each action works on a desk, in the portal or in the admin."""

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

Action = Callable[..., HttpResponse]


def for_member(action: Action) -> Action:
    """Turn an action into a portal view for orders of the member's merchant."""

    @wraps(action)
    @never_cache
    @member_required()
    def view(request, number, **kwargs):
        orders = request.merchant.orders.select_related("merchant", "checkout_page")
        order = get_object_or_404(orders, named(number, "number"))
        # Members of several merchants can have pages of each open, so the URLs name this page's merchant.
        query = {"merchant": request.merchant.slug} if len(request.memberships) > 1 else {}
        return perform(action, request, Desk(order, str(request.user), "order", order.key, query), **kwargs)

    return view


def perform(action: Action, request: HttpRequest, desk: Desk, **kwargs: Any) -> HttpResponse:
    """Perform an action on a desk. If it is refused, show the reason on the order page."""
    try:
        return action(request, desk, **kwargs)
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
    """Show the order in its current state with the reason why the action was refused."""
    messages.error(request, reason)
    desk.order.refresh_from_db(fields=["status", "email"])
    return show(request, desk, status=409)


@confirmed
def correct_address(request: HttpRequest, desk: Desk) -> Confirmation:
    form = CustomerEmailForm(request.POST or None, initial={"email": desk.order.email})
    yield Question(
        title="Correct the customer’s address",
        text="This doesn’t send an e-mail. Resend the activation codes afterwards.",
        button="Correct address",
        form=form,
    )
    if correct_email(desk.order, form.cleaned_data["email"], actor=desk.actor):
        return f"The address is now {desk.order.email}. New e-mails go there."
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
        text=f"{left} {order.currency} are left. If you refund everything, the order is deleted, its activation codes"
        " will no longer be sent, and its pool keys go into quarantine. This only records the refund: pay the money"
        " back in the shop.",
        button="Refund",
        danger=True,
        form=form,
    )
    data = form.cleaned_data
    changed = refund(
        order, amount=data["amount"], reference=data["reference"], actor=desk.actor, expected=data["left"]
    )
    outcome = " Nothing is left, so the order is deleted." if changed.status == Order.Status.DELETED else ""
    return f"Recorded a refund of {data['amount']} {order.currency}.{outcome}"


@confirmed
def reinstate_order(request: HttpRequest, desk: Desk) -> Confirmation:
    if desk.order.status != Order.Status.DELETED:
        raise ReinstateRefused(f"The order is {desk.order.status}. You can only undo a full refund.")
    yield Question(
        title=f"Undo the refund of order {desk.order.number}?",
        text="The order becomes paid again, and the customer’s codes and order page work again. If a key was returned"
        " to stock, the customer gets another one by e-mail. This changes nothing in the shop and moves no money.",
        button="Undo refund",
    )
    reinstate(desk.order, actor=desk.actor)
    return "Refund undone. The order is paid again, and its activation codes are valid."


@confirmed
def renew_order_link(request: HttpRequest, desk: Desk) -> Confirmation:
    yield Question(
        title="Renew the link to the customer’s order page?",
        text="The current link stops working immediately. The next e-mail for this order contains the new one: resend"
        " the activation codes, or ask the customer to use “Lost your license?”.",
        button="Renew link",
    )
    renew_link(desk.order, actor=desk.actor)
    return "Link renewed. The next e-mail for this order contains the new link."


@confirmed
def revoke_order_link(request: HttpRequest, desk: Desk) -> Confirmation:
    yield Question(
        title="Revoke the link to the customer’s order page?",
        text="The link stops working immediately. You can create a new one at any time.",
        button="Revoke link",
        danger=True,
    )
    if revoke_link(desk.order, actor=desk.actor):
        return "Link revoked. Nobody can open the customer’s order page."
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
        text=f"We send code {saved.unit} of {saved.item.product.name}, ••••{saved.hint}, to {desk.order.email}.",
        button="Resend",
        back=desk.url_of(saved),
    )
    delivery, new = resending.resend(saved.item, saved, actor=desk.actor)
    if new:
        return f"The code is on its way to {delivery.recipient}. See the history for the outcome."
    if delivery.status in Delivery.SUCCESSFUL:
        text = f"This code was just sent to {delivery.recipient}, so we didn’t send it again."
    else:
        text = f"An e-mail to {desk.order.email} with this code is already queued, so we didn’t send another."
    messages.info(request, text)
    return None


@confirmed
def replace_code(request: HttpRequest, desk: Desk, code: int) -> Confirmation:
    saved = _get_code(desk, code)
    form = ReplaceForm(request.POST if request.method == "POST" else None)
    yield Question(
        title="Replace the activation code?",
        text=f"Code {saved.unit} of {saved.item.product.name}, ••••{saved.hint}, will be permanently withdrawn. The"
        f" customer gets another key from the same pool by e-mail to {desk.order.email}.",
        button="Replace code",
        danger=True,
        form=form,
        back=desk.url_of(saved),
    )
    replacement, new = actions.replace(saved, actor=desk.actor, reason=form.cleaned_data["reason"])
    if new:
        messages.success(request, f"Replaced by ••••{replacement.hint}. {describe_email(desk.order)}")
    else:
        messages.info(request, f"This code has already been replaced by ••••{replacement.hint}.")
    return redirect(desk.url_of(replacement))


@confirmed
def issue_from_reserve(request: HttpRequest, desk: Desk, item: int) -> Confirmation:
    waiting = _get_item(desk, item)
    yield Question(
        title="Issue keys from the reserve?",
        text=f"We issue as many missing keys for {waiting.product.name} as the reserve has, and e-mail them to"
        f" {desk.order.email}.",
        button="Issue keys",
    )
    count = actions.issue_from_reserve(waiting, actor=desk.actor)
    return f"{count} issued from the reserve. {describe_email(desk.order)}"


def describe_email(order: Order) -> str:
    if order.checkout_page.delivery_allowed:
        return f"The e-mail to {order.email} is on its way."
    return "No e-mail is sent: delivery isn’t allowed for the checkout page."


@confirmed
def return_code(request: HttpRequest, desk: Desk, code: int) -> Confirmation:
    saved = _get_code(desk, code)
    yield Question(
        title="Return the key to stock?",
        text=f"••••{saved.hint} was never e-mailed, and never shown here or on the customer’s page. Another customer"
        " will get it. Your shop received it when it reported the payment, so return it only if the shop didn’t show"
        " it to anyone.",
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
        return refuse(request, desk, "None of these items has a product yet.")
    messages.success(request, f"Mapped {count} item{'s' if count > 1 else ''}. Their codes are on the way.")
    return redirect(desk)


@require_POST
def retry_item(request: HttpRequest, desk: Desk, item: int) -> HttpResponse:
    waiting = _get_item(desk, item)
    actions.retry(waiting, actor=desk.actor)
    messages.success(request, f"Trying {waiting.product.name} again. The result appears here shortly.")
    return redirect(desk)


@confirmed
def enter_codes(request: HttpRequest, desk: Desk, item: int) -> Confirmation:
    waiting = _get_item(desk, item)
    form = CodesForm(waiting, request.POST or None)

    if not form.fields and not form.is_valid():
        raise actions.CodeRefused("This item already has all of its activation codes.")
    yield Question(
        title=f"Enter activation codes for {waiting.product.name}",
        text=f"We save the codes and e-mail them to {desk.order.email} immediately. Leave a field empty to enter its"
        " code later.",
        button="Save and send",
        form=form,
    )
    actions.enter_codes(waiting, form.codes(), actor=desk.actor)
    return f"Codes saved. The e-mail to {desk.order.email} is on its way."


@confirmed
def release_code(request: HttpRequest, desk: Desk, held: int) -> Confirmation:
    code = _get_held(desk, held)
    yield Question(
        title=f"Release code {code.unit} of {code.item.product.name}?",
        text=f"We save the code and e-mail it to {desk.order.email}. Codes that look like it won’t be held again.",
        button="Release code",
    )
    held_codes.release(code, actor=desk.actor)
    return f"Code saved. {describe_email(desk.order)}"


@confirmed
def refuse_code(request: HttpRequest, desk: Desk, held: int) -> Confirmation:
    code = _get_held(desk, held)
    server = code.upstream.itself
    name = f"{server.NOUN} “{server}”"
    yield Question(
        title=f"Reject code {code.unit} of {code.item.product.name}?",
        text=f"We discard the code and ask the {name} again with the same Idempotency-Key. Fix the cause there first.",
        button="Reject and ask again",
        danger=True,
    )
    held_codes.refuse(code, actor=desk.actor)
    if code.item.held_codes.exists():
        return f"Code discarded. We ask the {name} again when you have decided on the item’s other held codes."
    return f"Code discarded. We are asking the {name} again."


def _get_held(desk: Desk, pk: int) -> HeldCode:
    codes = HeldCode.objects.select_related("upstream", "item__product", "item__order", "item__fulfillment")
    return get_object_or_404(codes, pk=pk, item__order=desk.order)


def _get_code(desk: Desk, pk: int) -> ActivationCode:
    """Return a code, even if it is withdrawn, because that may have happened since the page was loaded."""
    codes = ActivationCode.all_codes.select_related("item__product", "item__order")
    return get_object_or_404(codes, pk=pk, item__order=desk.order)


def _get_item(desk: Desk, pk: int) -> OrderItem:
    return get_object_or_404(desk.order.items.select_related("product", "fulfillment", "order"), pk=pk)


# The actions of a desk by name, with their paths below the order's URL.
ACTIONS: dict[str, tuple[str, Action]] = {
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
