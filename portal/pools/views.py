from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import messages
from django.db.models import Exists, F, OuterRef, Q, Window
from django.db.models.functions import DenseRank
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from fulfillment.models import Fulfillment
from merchants.models import Product
from pools.allocation import apply_settings
from pools.forms import UploadForm
from pools.ledger import stock_by_day
from pools.models import KeyMovement, LicenseKey, LicensePool, UploadLink
from pools.reconciliation import balance
from pools.replenishment import forecast
from pools.sandbox import add_test_pools
from pools.withdrawal import withdraw_key
from portal.access import Role, get_own, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.paging import KeysetPage
from portal.pools.chart import StockChart
from portal.pools.forms import PoolForm
from portal.pools.stock import Stock, get_stock

PERIODS = (30, 90)  # days that the chart shows
MAX_WAITING = 10
MAX_BATCHES = 5
KEYS = LicenseKey.objects.select_related("pool").defer("code")

form_page = partial(Question, section="pools", template="portal/pools/pool_form.html")

for_pool = scoped(LicensePool)


@never_cache
@member_required(Role.MANAGER, has_test_data=True)
@require_safe
def pools(request) -> HttpResponse:
    add_test_pools(request.merchant)
    return render(request, "portal/pools/pools.html", {"section": "pools", "stock": get_stock(request.merchant)})


@member_required(Role.MANAGER)
@confirmed
def add(request) -> Confirmation:
    form = PoolForm(request.POST or None, instance=LicensePool(merchant=request.merchant))
    yield form_page(title=gettext("Add a pool"), form=form, back="pools", then=form.instance)
    pool = form.save()
    return gettext("Pool “{pool}” added. It is empty, so add keys next.").format(pool=pool)


@never_cache
@member_required(Role.MANAGER, has_test_data=True)
@require_safe
def pool(request, pk: int) -> HttpResponse:
    live_links = Exists(UploadLink.objects.active().filter(pool=OuterRef("pk")))
    pool = get_own(request, LicensePool.objects.with_stock().annotate(has_upload_links=live_links), Q(pk=pk))
    source = pool.live or pool
    days = PERIODS[1] if request.GET.get("days") == str(PERIODS[1]) else PERIODS[0]
    waiting = first_waiting(pool)
    orders = waiting[0].orders if waiting else 0
    stock = Stock(pool, pool.available, pool.in_reserve, forecast(pool, pool.available), orders)
    context = {
        "section": "pools",
        "pool": pool,
        "stock": stock,
        "upload": None if pool.next_position or pool.generates_codes else UploadForm(),
        "chart": StockChart(stock_by_day(pool, pool.available, days), stock.forecast, pool.threshold),
        "days": days,
        "periods": PERIODS,
        "waiting": waiting,
        "batches": pool.batches.order_by("-imported_at", "-pk")[:MAX_BATCHES],
        "products": Product.objects.filter(fulfillment_methods__in=source.fulfillment_methods.all()).order_by("name"),
        "recipients": pool.get_recipients(),
    }
    return render(request, "portal/pools/pool.html", context)


def first_waiting(pool: LicensePool) -> list[Any]:
    """The first waiting items. On the first one, `orders` is the number of all waiting orders."""
    # In descending order, the rank of the first order equals the number of orders.
    descending_rank = Window(DenseRank(), order_by=[F("item__order__paid_at").desc(), F("item__order").desc()])
    waiting = Fulfillment.objects.waiting_for(pool).annotate(orders=descending_rank)
    return list(waiting.select_related("item__order", "item__product")[:MAX_WAITING])


@for_pool
@confirmed
def change_settings(request, pool) -> Confirmation:
    form = PoolForm(request.POST or None, instance=pool)
    yield form_page(title=gettext("Settings"), form=form)
    pool.save(update_fields=form.changed_data)
    apply_settings(pool, form.changed_data, actor=str(request.user))
    return gettext("Settings saved.")


@for_pool
@confirmed
def end_upload_links(request, pool) -> Confirmation:
    yield Question(
        title=gettext("Revoke the upload links?"),
        text=gettext(
            "The links in e-mails about “{pool}” stop working immediately. The next notice has a new link."
        ).format(pool=pool),
        button=gettext("Revoke links"),
        danger=True,
    )
    UploadLink.objects.active().filter(pool=pool).end()
    return gettext("Upload links of “{pool}” revoked. The next notice has a new link.").format(pool=pool)


# Each with its keys, and the field that the list is sorted by.
STATES: dict[str, tuple[Callable, str]] = {
    "available": (lambda keys: keys.available(), "position"),
    "reserved": (lambda keys: keys.reserved(), "position"),
    "issued": (lambda keys: keys.issued(), "issued_at"),
    "withdrawn": (lambda keys: keys.withdrawn(), "withdrawn_at"),
    gettext_noop("replaced"): (
        lambda keys: keys.withdrawn().filter(withdrawn_because=LicenseKey.WithdrawalReason.REPLACED),
        "withdrawn_at",
    ),
    gettext_noop("refunded"): (
        lambda keys: keys.withdrawn().filter(withdrawn_because=LicenseKey.WithdrawalReason.REFUNDED),
        "withdrawn_at",
    ),
}


@for_pool
@require_http_methods(["GET", "HEAD", "POST"])
def keys(request, pool) -> HttpResponse:
    """List the pool's keys in one state. A POST finds a key, so that its text never appears in a URL."""
    if request.method == "POST":
        return find_key(request, pool)

    state = request.GET.get("state") if request.GET.get("state") in STATES else "available"
    of_state, field = STATES[state]
    batch = pool.batches.filter(pk=read_number(request, "batch")).first()
    found = of_state(pool.keys).filter(Q(batch=batch) if batch else Q())
    if key := read_number(request, "key"):
        found, state = pool.keys.filter(pk=key), ""
    cursors = {name: request.GET.get(name, "") for name in ("before", "after")}
    context = {
        "section": "pools",
        "pool": pool,
        "states": STATES,
        "state": state,
        "batch": batch,
        "key": key,
        "page": KeysetPage(found.defer("code").select_related("item__order", "batch"), field, **cursors),
        "query": f"state={state}&" + (f"batch={batch.pk}&" if batch else ""),
    }
    return render(request, "portal/pools/keys.html", context)


def read_number(request, name: str) -> int:
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def find_key(request, pool) -> HttpResponse:
    text = request.POST.get("key", "").replace("\r\n", "\n").strip()
    key = pool.keys.with_text(text).first() if text else None
    if key is None:
        messages.error(
            request, gettext("This pool never had this key. Enter the complete key; case and spaces don’t matter.")
        )
        return redirect("pool-keys", pool.pk)
    return redirect(key)


@scoped(KEYS, merchant="pool__merchant", pool="pk", pk="key")
@confirmed
def withdraw(request, key: LicenseKey) -> Confirmation:
    yield Question(
        title=gettext("Withdraw this key?"),
        text=gettext("The key ••••{hint} will never be issued. You can’t undo this.").format(hint=key.hint),
        button=gettext("Withdraw key"),
        danger=True,
    )
    withdraw_key(key, actor=str(request.user))
    return gettext("Key withdrawn. It will never be issued.")


@never_cache
@member_required(Role.MANAGER, has_test_data=True)
@require_safe
def reconciliation(request: HttpRequest) -> HttpResponse:
    """Show that no license was lost or issued twice. Each number links to the keys it counts."""
    balances = balance(request.merchant)  # type: ignore[attr-defined]
    is_balanced = all(not pool_balance.problems for pool_balance in balances)
    context = {"section": "pools", "balances": balances, "is_balanced": is_balanced}
    return render(request, "portal/pools/reconciliation.html", context)


@for_pool
@require_safe
def ledger(request: HttpRequest, pool: LicensePool) -> HttpResponse:
    """List the movements of the pool's keys, newest first; only those of one key if the URL has a `key`."""
    movements = KeyMovement.objects.filter(pool=pool).select_related("item__order", "batch")
    key = None
    if pk := read_number(request, "key"):
        key = get_object_or_404(pool.keys.defer("code"), pk=pk)
        movements = movements.filter(key_id=key.pk)
    cursors = {name: request.GET.get(name, "") for name in ("before", "after")}
    page = KeysetPage(movements, "moved_at", **cursors)
    hints = dict(pool.keys.filter(pk__in=[row.key_id for row in page.rows]).values_list("pk", "hint"))
    rows = [(row, hints.get(row.key_id, "")) for row in page.rows]
    context = {"section": "pools", "pool": pool, "key": key, "page": page, "rows": rows}
    context["query"] = f"key={key.pk}&" if key else ""
    return render(request, "portal/pools/ledger.html", context)
