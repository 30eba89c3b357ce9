"""The order page and its actions. Each action works on a desk, in the portal or in the admin."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_POST, require_safe

from delivery import resending
from delivery.models import Delivery
from delivery.recomposition import recomposable, recompose
from fulfillment import actions, held_codes, holds
from fulfillment.models import Fulfillment, HeldCode
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
from portal.access import Role, get_own, member_required, merchant_query
from portal.confirm import Confirmation, Question, confirmed
from portal.emails.views import show_preview
from portal.orders.desk import Desk, orders_for_desk
from portal.orders.forms import CodesForm, CustomerEmailForm, RefundForm, ReplaceForm
from work.refusals import Refused

Action = Callable[..., HttpResponse]


def for_member(action: Action) -> Action:
    """Turn an action into a portal view for orders of the member's merchant."""

    @wraps(action)
    @never_cache
    @member_required(has_test_data=True)
    def view(request, number, **kwargs):
        order = get_own(request, orders_for_desk(), named(number, "number"), is_unique=number.startswith(ID_PREFIX))
        # Members of several merchants can have pages of each open, so the URLs name this page's merchant.
        query = merchant_query(request)
        desk = Desk(order, str(request.user), "order", order.key, query, sees_sources=request.member.may(Role.MANAGER))
        return perform(action, request, desk, **kwargs)

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
    place = place or read_place(request, desk)
    context["all_history"] = request.GET.get("history") == "all"
    return render(request, desk.page, desk.context(place, **context), status=status)


def read_place(request: HttpRequest, desk: Desk) -> dict[str, int]:
    """Which part of the order a URL asks for: its items and units from a number on, or those around a code."""
    codes = ActivationCode.all_codes.select_related("item").filter(item__order=desk.order)
    if "code" in request.GET and (code := codes.filter(pk=read_number(request, "code", digits=18)).first()):
        return desk.place(code)
    return {name: number for name in ("items", "from") if (number := read_number(request, name)) > 1}


def read_number(request: HttpRequest, name: str, *, digits: int = 8) -> int:
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= digits else 1


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
def fix_address(request: HttpRequest, desk: Desk) -> Confirmation:
    """Correct the address and resend all codes to it, in one step."""
    count = _count_codes(desk.order.codes(), desk)
    form = CustomerEmailForm(request.POST or None, initial={"email": desk.order.email})
    yield Question(
        title=gettext("Fix the customer’s address and resend"),
        text=ngettext(
            "We send the activation code to this address.",
            "We send all {count} activation codes to this address, in one e-mail.",
            count,
        ).format(count=f"{count:,}"),
        button=gettext("Fix address and resend"),
        form=form,
    )
    delivery, new = resending.correct_and_resend(desk.order, form.cleaned_data["email"], actor=desk.actor)
    return answer_resend(request, delivery, new, count)


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
        text=describe_code(saved, desk.order),
        button=gettext("Resend"),
        back=desk.url_of(saved),
    )
    delivery, new = resending.resend(saved.item, saved, actor=desk.actor)
    return answer_resend(request, delivery, new, 1)


@confirmed
def resend_item(request: HttpRequest, desk: Desk, item: int) -> Confirmation:
    """Resend all codes of an item in one e-mail."""
    sold = _get_item(desk, item)
    count = _count_codes(sold.activation_codes.all(), desk)
    yield Question(
        title=gettext("Resend the activation codes of {name}?").format(name=sold.product.name),
        text=ngettext(
            "We send its activation code to {email}.",
            "We send all {count} activation codes to {email}, in one e-mail.",
            count,
        ).format(count=f"{count:,}", email=desk.order.email),
        button=gettext("Resend all") if count > 1 else gettext("Resend"),
        back=desk.url_of_item(sold),
    )
    delivery, new = resending.resend(sold, actor=desk.actor)
    return answer_resend(request, delivery, new, count)


@confirmed
def resend_all(request: HttpRequest, desk: Desk) -> Confirmation:
    """Resend all codes of the order in one e-mail."""
    count = _count_codes(desk.order.codes(), desk)
    first = desk.order.codes().select_related("item__product").defer("code").first()
    text = gettext("We send all {count} activation codes of this order to {email}, in one e-mail.").format(
        count=f"{count:,}", email=desk.order.email
    )
    yield Question(
        title=gettext("Resend all activation codes?") if count > 1 else gettext("Resend the activation code?"),
        text=text if count > 1 or not first else describe_code(first, desk.order),
        button=gettext("Resend all") if count > 1 else gettext("Resend"),
    )
    delivery, new = resending.resend_all(desk.order, actor=desk.actor)
    return answer_resend(request, delivery, new, count)


def _count_codes(codes: QuerySet[ActivationCode], desk: Desk) -> int:
    """Count the codes to resend. Raises ResendRefused if they can't be resent."""
    count = codes.count()
    if reason := resending.why_not_resend(desk.order, saved=count > 0):
        raise resending.ResendRefused(reason)
    return count


def describe_code(code: ActivationCode, order: Order) -> str:
    return gettext("We send code {unit} of {name}, ••••{hint}, to {email}.").format(
        unit=code.unit, name=code.item.product.name, hint=code.hint, email=order.email
    )


def answer_resend(request: HttpRequest, delivery: Delivery, new: bool, count: int) -> str | None:
    """Say what became of a request to resend this number of codes."""
    facts = {"count": f"{count:,}", "recipient": delivery.recipient}
    if new:
        return ngettext(
            "The code is on its way to {recipient}. See the history for the outcome.",
            "{count} codes are on their way to {recipient}, in one e-mail. See the history for the outcome.",
            count,
        ).format(**facts)
    if delivery.status in Delivery.SUCCESSFUL:
        text = ngettext(
            "This code was just sent to {recipient}, so we didn’t send it again.",
            "These {count} codes were just sent to {recipient}, so we didn’t send them again.",
            count,
        )
    else:
        # One that isn't being sent yet goes to the order's current address.
        facts["recipient"] = delivery.recipient if delivery.attempts else delivery.order.email
        text = ngettext(
            "An e-mail to {recipient} with this code is already queued, so we didn’t send another.",
            "An e-mail to {recipient} with these {count} codes is already queued, so we didn’t send another.",
            count,
        )
    messages.info(request, text.format(**facts))
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


@require_safe
def show_email(request: HttpRequest, desk: Desk, delivery: int) -> HttpResponse:
    sent = get_object_or_404(recomposable(desk.order.deliveries.all()), pk=delivery)
    context = {"delivery": sent, "email": recompose(sent)}
    response = render(request, "desk/email.html", desk.base_context() | context)
    response.content_security_policy = {"frame-src": "'self'"}  # type: ignore[attr-defined]
    return response


@xframe_options_sameorigin
@require_safe
def show_email_frame(request: HttpRequest, desk: Desk, delivery: int) -> HttpResponse:
    """Show the e-mail as HTML and as text, for the frame in its page."""
    return show_preview(request, recompose(get_object_or_404(recomposable(desk.order.deliveries.all()), pk=delivery)))


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


@require_POST
def retry_failed(request: HttpRequest, desk: Desk) -> HttpResponse:
    """Retry all failed items of the order."""
    failed = desk.order.items.filter(fulfillment__status=Fulfillment.Status.FAILED, held_codes=None)
    items = list(failed.select_related("product", "fulfillment", "order").order_by("pk"))
    if not items:
        return refuse(request, desk, gettext("No item of this order has failed."))
    for item in items:
        actions.retry(item, actor=desk.actor)
    messages.success(
        request,
        ngettext(
            "Trying {count} item again. The result appears here shortly.",
            "Trying {count} items again. The result appears here shortly.",
            len(items),
        ).format(count=len(items)),
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
    "fix-address": ("address/resend/", fix_address),
    "resend-item": ("items/<int:item>/resend/", resend_item),
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
    "email": ("emails/<int:delivery>/", show_email),
    "email-frame": ("emails/<int:delivery>/frame/", show_email_frame),
    # Last: a number may contain slashes, but `A1/codes/7/resend/` isn't about an order `A1/codes/7`.
    "resend-all": ("resend/", resend_all),
    "retry-all": ("retry/", retry_failed),
}
