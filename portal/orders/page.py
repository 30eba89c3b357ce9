"""The order page and its actions. Each action works on a desk, in the portal or in the admin."""

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from delivery import resending
from delivery.models import Delivery
from fulfillment import actions, held_codes, holds
from fulfillment.models import HeldCode
from orders.localization import show_money
from orders.models import ID_PREFIX, ActivationCode, Order, OrderItem, named
from orders.placing import map_items
from orders.services import (
    CodeWithdrawn,
    RefundRefused,
    ReinstateRefused,
    correct_email,
    refund,
    reinstate,
    renew_link,
    reveal,
    revoke_link,
)
from portal.access import get_own, member_required, merchant_query
from portal.confirm import Confirmation, Question, confirmed
from portal.orders.desk import Desk
from portal.orders.forms import CodesForm, CustomerEmailForm, RefundForm, ReplaceForm
from work.refusals import Refused

Action = Callable[..., HttpResponse]


def for_member(action: Action) -> Action:
    """Turn an action into a portal view for orders of the member's merchant."""

    @wraps(action)
    @never_cache
    @member_required(has_test_data=True)
    def view(request, number, **kwargs):
        orders = Order.objects.select_related("merchant", "checkout_page")
        order = get_own(request, orders, named(number, "number"), is_unique=number.startswith(ID_PREFIX))
        # Members of several merchants can have pages of each open, so the URLs name this page's merchant.
        query = merchant_query(request)
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
    desk.order.refresh_from_db(fields=["status", "held_until", "email"])
    return show(request, desk, status=409)


@confirmed
def correct_address(request: HttpRequest, desk: Desk) -> Confirmation:
    form = CustomerEmailForm(request.POST or None, initial={"email": desk.order.email})
    yield Question(
        title=gettext("Correct the customer’s address"),
        text=gettext("This doesn’t send an e-mail. Resend the activation codes afterwards."),
        button=gettext("Correct address"),
        form=form,
    )
    if correct_email(desk.order, form.cleaned_data["email"], actor=desk.actor):
        return gettext("The address is now {email}. New e-mails go there.").format(email=desk.order.email)
    return None


@confirmed
def refund_order(request: HttpRequest, desk: Desk) -> Confirmation:
    order = desk.order
    left = order.left_to_refund()
    form = RefundForm(order, request.POST or None, initial={"amount": left, "left": left})

    if order.status != Order.Status.PAID and not form.is_valid():
        raise RefundRefused(gettext("The order is {status}, not paid.").format(status=gettext(order.status)))
    yield Question(
        title=gettext("Refund order {number}").format(number=order.number),
        text=gettext(
            "{left} are left. If you refund everything, the order is deleted, its activation codes"
            " will no longer be sent, and its pool keys go into quarantine. This only records the refund: pay the"
            " money back in the shop."
        ).format(left=show_money(left, order.currency)),
        button=gettext("Refund"),
        danger=True,
        form=form,
    )
    data = form.cleaned_data
    changed = refund(
        order, amount=data["amount"], reference=data["reference"], actor=desk.actor, expected=data["left"]
    )
    text = gettext("Recorded a refund of {amount}.")
    if changed.status == Order.Status.DELETED:
        text = gettext("Recorded a refund of {amount}. Nothing is left, so the order is deleted.")
    return text.format(amount=show_money(data["amount"], order.currency))


@confirmed
def reinstate_order(request: HttpRequest, desk: Desk) -> Confirmation:
    if desk.order.status != Order.Status.DELETED:
        raise ReinstateRefused(
            gettext("The order is {status}. You can only undo a full refund.").format(
                status=gettext(desk.order.status)
            )
        )
    yield Question(
        title=gettext("Undo the refund of order {number}?").format(number=desk.order.number),
        text=gettext(
            "The order becomes paid again, and the customer’s codes and order page work again. If a key was returned"
            " to stock, the customer gets another one by e-mail. This changes nothing in the shop and moves no money."
        ),
        button=gettext("Undo refund"),
    )
    reinstate(desk.order, actor=desk.actor)
    return gettext("Refund undone. The order is paid again, and its activation codes are valid.")


@confirmed
def approve_order(request: HttpRequest, desk: Desk) -> Confirmation:
    if not desk.order.is_held:
        raise holds.NotHeld
    yield Question(
        title=gettext("Approve order {number}?").format(number=desk.order.number),
        text=gettext("The order gets its activation codes immediately, and we e-mail them to {email}.").format(
            email=desk.order.email
        ),
        button=gettext("Approve"),
    )
    holds.approve(desk.order, actor=desk.actor)
    return f"{gettext('Order approved.')} {describe_email(desk.order)}"


@confirmed
def renew_order_link(request: HttpRequest, desk: Desk) -> Confirmation:
    yield Question(
        title=gettext("Renew the link to the customer’s order page?"),
        text=gettext(
            "The current link stops working immediately. The next e-mail for this order contains the new one: resend"
            " the activation codes, or ask the customer to use “Lost your license?”."
        ),
        button=gettext("Renew link"),
    )
    renew_link(desk.order, actor=desk.actor)
    return gettext("Link renewed. The next e-mail for this order contains the new link.")


@confirmed
def revoke_order_link(request: HttpRequest, desk: Desk) -> Confirmation:
    yield Question(
        title=gettext("Revoke the link to the customer’s order page?"),
        text=gettext("The link stops working immediately. You can create a new one at any time."),
        button=gettext("Revoke link"),
        danger=True,
    )
    if revoke_link(desk.order, actor=desk.actor):
        return gettext("Link revoked. Nobody can open the customer’s order page.")
    return None


@confirmed
def resend_code(request: HttpRequest, desk: Desk, code: int) -> Confirmation:
    saved = _get_code(desk, code)
    if saved.withdrawn_at:
        raise CodeWithdrawn
    if reason := resending.why_not_resend(desk.order, saved=True):
        raise resending.ResendRefused(reason)
    yield Question(
        title=gettext("Resend the activation code?"),
        text=gettext("We send code {unit} of {name}, ••••{hint}, to {email}.").format(
            unit=saved.unit, name=saved.item.product.name, hint=saved.hint, email=desk.order.email
        ),
        button=gettext("Resend"),
        back=desk.url_of(saved),
    )
    delivery, new = resending.resend(saved.item, saved, actor=desk.actor)
    if new:
        return gettext("The code is on its way to {recipient}. See the history for the outcome.").format(
            recipient=delivery.recipient
        )
    if delivery.status in Delivery.SUCCESSFUL:
        text = gettext("This code was just sent to {recipient}, so we didn’t send it again.").format(
            recipient=delivery.recipient
        )
    else:
        text = gettext("An e-mail to {email} with this code is already queued, so we didn’t send another.").format(
            email=desk.order.email
        )
    messages.info(request, text)
    return None


@confirmed
def replace_code(request: HttpRequest, desk: Desk, code: int) -> Confirmation:
    saved = _get_code(desk, code)
    form = ReplaceForm(request.POST if request.method == "POST" else None)
    yield Question(
        title=gettext("Replace the activation code?"),
        text=gettext(
            "Code {unit} of {name}, ••••{hint}, will be permanently withdrawn. The"
            " customer gets another key from the same pool by e-mail to {email}."
        ).format(unit=saved.unit, name=saved.item.product.name, hint=saved.hint, email=desk.order.email),
        button=gettext("Replace code"),
        danger=True,
        form=form,
        back=desk.url_of(saved),
    )
    replacement, new = actions.replace(saved, actor=desk.actor, reason=form.cleaned_data["reason"])
    if new:
        messages.success(
            request,
            gettext("Replaced by ••••{hint}. {order}").format(hint=replacement.hint, order=describe_email(desk.order)),
        )
    else:
        messages.info(
            request, gettext("This code has already been replaced by ••••{hint}.").format(hint=replacement.hint)
        )
    return redirect(desk.url_of(replacement))


@confirmed
def issue_from_reserve(request: HttpRequest, desk: Desk, item: int) -> Confirmation:
    waiting = _get_item(desk, item)
    yield Question(
        title=gettext("Issue keys from the reserve?"),
        text=gettext(
            "We issue as many missing keys for {name} as the reserve has, and e-mail them to {email}."
        ).format(name=waiting.product.name, email=desk.order.email),
        button=gettext("Issue keys"),
    )
    count = actions.issue_from_reserve(waiting, actor=desk.actor)
    issued = ngettext("{count} key issued from the reserve.", "{count} keys issued from the reserve.", count)
    return f"{issued.format(count=count)} {describe_email(desk.order)}"


def describe_email(order: Order) -> str:
    if order.checkout_page.delivery_allowed:
        return gettext("The e-mail to {email} is on its way.").format(email=order.email)
    return gettext("No e-mail is sent: delivery isn’t allowed for the checkout page.")


@confirmed
def return_code(request: HttpRequest, desk: Desk, code: int) -> Confirmation:
    saved = _get_code(desk, code)
    yield Question(
        title=gettext("Return the key to stock?"),
        text=gettext(
            "••••{hint} was never e-mailed, and never shown here or on the customer’s page. Another customer"
            " will get it. Your shop received it when it reported the payment, so return it only if the shop"
            " didn’t show it to anyone."
        ).format(hint=saved.hint),
        button=gettext("Return to stock"),
        back=desk.url_of(saved),
        then=desk,
    )
    pool = actions.return_to_stock(saved, actor=desk.actor)
    return gettext("The key is back in the pool “{pool}”.").format(pool=pool)


@require_POST
def reveal_code(request: HttpRequest, desk: Desk, code: int) -> HttpResponse:
    saved = _get_code(desk, code)
    return show(request, desk, place=desk.place(saved), revealed={saved.pk: reveal(saved, actor=desk.actor)})


@require_POST
def map_order(request: HttpRequest, desk: Desk) -> HttpResponse:
    count = map_items(desk.order, actor=desk.actor)
    if not count:
        return refuse(request, desk, gettext("None of these items has a product yet."))
    messages.success(
        request,
        ngettext(
            "Mapped {count} item. Its codes are on the way.",
            "Mapped {count} items. Their codes are on the way.",
            count,
        ).format(count=count),
    )
    return redirect(desk)


@require_POST
def retry_item(request: HttpRequest, desk: Desk, item: int) -> HttpResponse:
    waiting = _get_item(desk, item)
    actions.retry(waiting, actor=desk.actor)
    messages.success(
        request, gettext("Trying {name} again. The result appears here shortly.").format(name=waiting.product.name)
    )
    return redirect(desk)


@confirmed
def enter_codes(request: HttpRequest, desk: Desk, item: int) -> Confirmation:
    waiting = _get_item(desk, item)
    form = CodesForm(waiting, request.POST or None)

    if not form.fields and not form.is_valid():
        raise actions.CodeRefused(gettext("This item already has all of its activation codes."))
    yield Question(
        title=gettext("Enter activation codes for {name}").format(name=waiting.product.name),
        text=gettext(
            "We save the codes and e-mail them to {email} immediately. Leave a field empty to enter its code later."
        ).format(email=desk.order.email),
        button=gettext("Save and send"),
        form=form,
    )
    actions.enter_codes(waiting, form.codes(), actor=desk.actor)
    return gettext("Codes saved. The e-mail to {email} is on its way.").format(email=desk.order.email)


@confirmed
def release_code(request: HttpRequest, desk: Desk, held: int) -> Confirmation:
    code = _get_held(desk, held)
    yield Question(
        title=gettext("Release code {unit} of {name}?").format(unit=code.unit, name=code.item.product.name),
        text=gettext("We save the code and e-mail it to {email}. Codes that look like it won’t be held again.").format(
            email=desk.order.email
        ),
        button=gettext("Release code"),
    )
    held_codes.release(code, actor=desk.actor)
    return f"{gettext('Code saved.')} {describe_email(desk.order)}"


@confirmed
def refuse_code(request: HttpRequest, desk: Desk, held: int) -> Confirmation:
    code = _get_held(desk, held)
    server = code.upstream.itself
    yield Question(
        title=gettext("Reject code {unit} of {name}?").format(unit=code.unit, name=code.item.product.name),
        text=gettext(
            "We discard the code and ask “{server}” again with the same Idempotency-Key. Fix the cause there first."
        ).format(server=server),
        button=gettext("Reject and ask again"),
        danger=True,
    )
    held_codes.refuse(code, actor=desk.actor)
    if code.item.held_codes.exists():
        return gettext(
            "Code discarded. We ask “{server}” again when you have decided on the item’s other held codes."
        ).format(server=server)
    return gettext("Code discarded. We are asking “{server}” again.").format(server=server)


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
    "approve": ("approve/", approve_order),
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
