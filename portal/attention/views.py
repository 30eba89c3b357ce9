"""The list of what needs a person: by cause, each with a fix, until somebody deals with it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from fulfillment.attention import NotSeen, Trouble, deal_with, digest, read_occurrences
from portal.access import Role, member_required, merchant_query
from portal.attention.causes import (
    AttentionCause,
    Row,
    count_things,
    find_rows,
    is_own,
    may_use,
    read_causes,
    read_rows,
)
from portal.attention.fixes import RETRY, find_fix, limit_text
from portal.confirm import Confirmation, Question, confirmed
from portal.paging import PAGE_SIZE
from work.stored_texts import show_stored

ROWS_SHOWN = 5  # of each cause in the list
MAX_CAUSES = 40  # with rows


@dataclass(frozen=True)
class ShownFix:
    """A link, a dialog (`get`) or a form (`post`)."""

    label: str | Promise
    url: str
    method: str = ""


@dataclass(frozen=True)
class ShownRow:
    row: Row
    url: str
    title: str
    fix: ShownFix | None


@dataclass(frozen=True)
class ShownCause:
    cause: AttentionCause
    rows: list[ShownRow]
    is_open: bool
    is_allowed: bool  # whether the member may fix it
    is_more_allowed: bool


def show_causes(
    request: Any, causes: list[AttentionCause], chosen: list[list[int]], *, older: bool
) -> list[ShownCause]:
    rows = read_rows(list(zip(causes, chosen, strict=True)), request.merchant, older=older)
    return [
        ShownCause(
            cause,
            [show_row(request, cause, row) for row in rows_of_cause],
            # Work that a person does order by order, and what they had open before.
            is_open=bool(cause.item_fix) or request.GET.get("open") == cause.slug,
            is_allowed=may_use(request.member, cause.fix),
            is_more_allowed=may_use(request.member, cause.more),
        )
        for cause, rows_of_cause in zip(causes, rows, strict=True)
    ]


def show_row(request: Any, cause: AttentionCause, row: Row) -> ShownRow:
    if row.order is None:
        is_manager = request.member.may(Role.MANAGER)
        is_event = cause.trouble == Trouble.EVENT and is_manager
        url = reverse("shop-event", args=[row.part, row.thing]) if is_event else ""
        return ShownRow(row, url, "" if cause.trouble == Trouble.EVENT else show_stored(row.detail), None)

    query = f"?{urlencode(parameters)}" if (parameters := merchant_query(request)) else ""

    def make_url(action: str, *arguments: int) -> str:
        return reverse(action, args=[row.order.key, *arguments]) + query  # type: ignore[union-attr]

    fix = None
    if cause.item_fix:
        label, action = cause.item_fix
        arguments = [row.part] if cause.trouble == Trouble.ITEM else []
        fix = ShownFix(label, make_url(f"order-{action}", *arguments), "get")
    elif find_fix(cause) is RETRY:
        fix = ShownFix(gettext("Retry"), make_url("order-retry", row.part), "post")
    elif cause.trouble == Trouble.UNMAPPED:
        fix = ShownFix(gettext("Map"), make_url("order-map"), "post")
    return ShownRow(row, make_url("order"), row.order.number, fix)


def is_older(request: HttpRequest) -> bool:
    return request.GET.get("older") == "1"


@never_cache
@require_safe
@member_required(has_test_data=True)
def attention(request) -> HttpResponse:
    """List what needs a person, by cause and worst first."""
    older = is_older(request)
    causes = read_causes(request.merchant, older=older)
    chosen = [choose_newest(cause)[:ROWS_SHOWN] if number < MAX_CAUSES else [] for number, cause in enumerate(causes)]
    context = {
        "section": "attention",
        "older": older,
        "causes": show_causes(request, causes, chosen, older=older),
    }
    if not older:
        context["attention_count"] = count_things(causes)
        context["has_older"] = bool(read_causes(request.merchant, older=True)) if not causes else None
    return render(request, "portal/attention/attention.html", context)


def choose_newest(cause: AttentionCause) -> list[int]:
    return sorted(cause.things, reverse=True)


def for_cause(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Pass a cause of the merchant to the view. If there is nothing left of it, go back to the list."""

    @wraps(view)
    @never_cache
    @member_required(has_test_data=True)
    def with_cause(request, slug, **kwargs):
        found = {cause.slug: cause for cause in read_causes(request.merchant, older=is_older(request))}
        if slug in found:
            return view(request, found[slug], **kwargs)
        if not is_own(request.merchant, slug):
            raise Http404
        messages.info(request, gettext("Nothing is left to do there."))
        return redirect(list_url(request))

    return with_cause


def list_url(request: HttpRequest, cause: AttentionCause | None = None) -> str:
    query = {"older": "1"} if is_older(request) else {}
    return reverse("attention") + (f"?{urlencode(query)}" if query else "") + (f"#{cause.slug}" if cause else "")


@for_cause
@require_safe
def cause_page(request, cause: AttentionCause) -> HttpResponse:
    """All rows of a cause, newest first."""
    things = choose_newest(cause)
    text = request.GET.get("before", "")
    before = int(text) if text.isdecimal() and len(text) < 19 else None
    after = [thing for thing in things if before is None or thing < before]
    shown = after[:PAGE_SIZE]
    older = is_older(request)
    (shown_cause,) = show_causes(request, [cause], [shown], older=older)
    context = {
        "section": "attention",
        "older": older,
        "shown": shown_cause,
        "next": shown[-1] if len(after) > PAGE_SIZE else None,
        "is_first": len(after) == len(things),
    }
    return render(request, "portal/attention/cause.html", context)


class SeenForm(forms.Form):
    """What the person saw, so that nothing is cleared that happened since."""

    seen = forms.CharField(max_length=16, widget=forms.HiddenInput)


@for_cause
@confirmed
def deal_with_all(request, cause: AttentionCause) -> Confirmation:
    rows = find_rows(cause, request.merchant, older=is_older(request))
    seen = digest(read_occurrences(rows))
    form = SeenForm(request.POST or None, initial={"seen": seen})
    title = ngettext("Mark {count:,} as dealt with?", "Mark all {count:,} as dealt with?", cause.count)
    question = Question(
        title=title.format(count=cause.count),
        text=gettext(
            "“{title}” leaves the list, and the history says that it was you. Nothing is sent or changed. It comes"
            " back if it happens again."
        ).format(title=cause.title),
        button=gettext("Dealt with"),
        form=form,
        back=list_url(request),
        section="attention",
    )
    yield question
    try:
        count = deal_with(request.merchant, rows, seen=form.cleaned_data["seen"], actor=str(request.user))
    except NotSeen as problem:
        messages.error(request, str(problem))
        return redirect(list_url(request, cause))
    return ngettext("{count:,} dealt with.", "{count:,} dealt with.", count).format(count=count)


@for_cause
@require_POST
def deal_with_one(request, cause: AttentionCause, thing: int) -> HttpResponse:
    form = SeenForm(request.POST)
    rows = find_rows(cause, request.merchant, older=is_older(request), things=[thing])
    seen = form.cleaned_data["seen"] if form.is_valid() else ""
    try:
        count = deal_with(request.merchant, rows, seen=seen, actor=str(request.user))
    except NotSeen as problem:
        messages.error(request, str(problem))
    else:
        if count:
            messages.success(request, gettext("Dealt with. It comes back if it happens again."))
        elif thing not in cause.things and not request.merchant.orders.filter(pk=thing).exists():
            raise Http404
    if request.POST.get("from") == "cause" and len(cause.things) > 1:
        return redirect(f"{cause.url}?older=1" if is_older(request) else cause.url)
    url = reverse("attention")
    query = {"open": cause.slug} | ({"older": "1"} if is_older(request) else {})
    return redirect(f"{url}?{urlencode(query)}#{cause.slug}")


@for_cause
@confirmed
def fix_all(request, cause: AttentionCause) -> Confirmation:
    fix = find_fix(cause)
    if fix is None:
        raise Http404
    seen = digest(read_occurrences(find_rows(cause, request.merchant, older=is_older(request))))
    form = SeenForm(request.POST or None, initial={"seen": seen})
    yield Question(
        title=fix.ask(cause.count).format(count=cause.count),
        text=f"{fix.text} {'' if fix is RETRY else limit_text(cause.count)}".strip(),
        button=fix.button,
        form=form,
        back=list_url(request),
        section="attention",
    )
    if form.cleaned_data["seen"] != seen:
        messages.error(request, str(NotSeen()))
        return redirect(list_url(request, cause))
    count = fix.act(cause, request.merchant, is_older(request), str(request.user))
    return fix.done(count).format(count=count)
