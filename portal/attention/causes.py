"""What needs a person, grouped by cause. Feeds the list, the navigation's count and the home page's panel."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Case, F, Min, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from fulfillment.attention import (
    LOOKS_WRONG,
    OF_ORDERS,
    SHORT,
    Occurrence,
    Trouble,
    digest,
    down_upstreams,
    held_orders,
    is_recent,
    late_deliveries,
    lost_deliveries,
    mappable_items,
    needs_attention,
    order_rows,
    stuck_fulfillments,
)
from fulfillment.models import FulfillmentMethod
from fulfillment.sources.base import Source, format_since
from merchants.models import ApiKey, Member, Merchant, Product
from orders.kinds import SOURCES
from orders.models import Order
from outbound.models import MailAccount, Upstream
from pools.models import LicensePool
from portal.access import Role
from shops.changes import Cause as ParkedBecause
from shops.models import REJECTING, Connection, Event
from work.sql import PreparedQuery


@dataclass(frozen=True)
class Fix:
    """What a person can do about a cause: a page, or a question whose answer does it."""

    label: str | Promise
    url: str
    is_question: bool = False
    role: Role = Role.SUPPORT


@dataclass
class AttentionCause:
    """Orders, or other things, that need a person for the same reason."""

    slug: str
    title: str = ""
    reason: str | Promise = ""
    look: str = "failed"  # the state whose look it has
    rank: int = 0  # lower is worse
    since: datetime | None = None
    things: set[int] = field(default_factory=set)  # primary keys of orders or other rows
    servers: set[int] = field(default_factory=set)  # those that are down, besides the orders that wait for them
    trouble: str = ""
    # Which rows: the places of each trouble and flag.
    places: dict[tuple[str, str], set[int]] = field(default_factory=lambda: defaultdict(set))
    fix: Fix | None = None
    more: Fix | None = None  # another page that helps
    item_fix: tuple[str | Promise, str] | None = None  # a label, and an action of the order desk
    source: Source | None = None
    label: str = ""

    def add(self, group: Any) -> None:
        self.places[group.trouble, group.flag].add(group.place)
        self.label = self.label or group.label
        if not self.trouble or group.trouble != Trouble.SERVER:
            self.trouble = group.trouble
        self.since = min(filter(None, [self.since, group.since]))
        (self.servers if group.trouble == Trouble.SERVER else self.things).update(group.things)

    @property
    def count(self) -> int:
        """How many orders, or else other things."""
        return len(self.things or self.servers)

    @cached_property
    def has_orders(self) -> bool:
        return any(trouble in OF_ORDERS for trouble, _ in self.places)

    @property
    def url(self) -> str:
        """Its page, with all its rows."""
        return reverse("attention-cause", args=[self.slug])

    @property
    def list_url(self) -> str:
        """Its place in the list, with what fixes it."""
        return f"{reverse('attention')}#{self.slug}"


# Rows that belong to no order


def unused_events(merchant: int) -> QuerySet[Event]:
    """Events of the merchant's shops that a person has to look at, except those that are being processed again."""
    rows = Event.objects.unused().filter(
        connection__merchant=merchant, connection__removed_at=None, connection__disabled_at=None, due_at=None
    )
    return needs_attention(
        rows,
        Trouble.EVENT,
        occurred_at=Coalesce("ended_at", "created_at"),
        thing="pk",
        place=F("connection"),
        flag=Case(When(state=Event.State.FAILED, then=Value("failed")), default=F("cause")),
        label=F("connection__name"),
        detail=F("reason"),
        part=F("connection"),
    )


def rejecting_shops(merchant: int) -> QuerySet[Connection]:
    rows = Connection.objects.kept().with_last_event().filter(REJECTING, merchant=merchant, disabled_at=None)
    return needs_attention(
        rows,
        Trouble.REJECTING,
        # It happens again when requests are rejected after one was accepted.
        occurred_at=Coalesce("last_event_at", "created_at"),
        aged_at=F("rejected_at"),
        thing="pk",
        place=F("pk"),
        label=F("name"),
        detail=F("rejected_because"),
    )


def refusing_mail_servers(merchant: int) -> QuerySet[MailAccount]:
    rows = MailAccount.objects.filter(merchant=merchant).exclude(reason="")
    return needs_attention(
        rows,
        Trouble.MAIL_SERVER,
        occurred_at=Coalesce("refused_at", "tested_at"),
        thing="pk",
        label=F("reason"),
        detail=F("reason"),
    )


def expiring_keys(merchant: int) -> QuerySet[ApiKey]:
    rows = ApiKey.objects.filter(merchant=merchant).expiring()
    return needs_attention(rows, Trouble.API_KEY, occurred_at=F("expires_at"), thing="pk", detail=F("name"))


def other_rows(merchant: int) -> list[QuerySet[Any]]:
    """One query for each kind of row that needs attention and belongs to no order."""
    kinds = (unused_events, rejecting_shops, refusing_mail_servers, expiring_keys)
    return [*(kind(merchant) for kind in kinds), *down_upstreams(merchant)]


# Counting


def count_needing_attention(merchant: Merchant, most: int) -> int:
    """Count the orders and other things that need attention and aren't old, but only up to `most`.

    Every page shows the number, so this reads only as many rows as that takes: usually those of one kind.
    """
    enough = 2 * most  # an order can have several
    rows = read_newly_troubled(merchant=merchant.pk, enough=enough)
    found = {(row.trouble not in OF_ORDERS and row.trouble, row.thing) for row in rows}
    if len(found) < most and len(rows) == enough:
        return min(count_things(read_causes(merchant)), most)
    return min(len(found), most)


def count_things(causes: Iterable[AttentionCause]) -> int:
    """Count the orders and other things of these causes, each once."""
    things = {(not cause.has_orders and cause.trouble, thing) for cause in causes for thing in cause.things}
    return len(things) + sum(len(cause.servers) for cause in causes)


@PreparedQuery
def read_newly_troubled(merchant: int, enough: int) -> QuerySet[Any]:
    rows = [*other_rows(merchant), *order_rows(merchant)]
    first, *others = (each.filter(is_recent()).order_by().values("trouble", "thing") for each in rows)
    return first.union(*others, all=True)[:enough]


# Grouping


def group(rows: QuerySet[Any]) -> QuerySet[Any]:
    groups = rows.order_by().values("trouble", "place", "flag", "label")
    return groups.annotate(things=ArrayAgg("thing", distinct=True), since=Min("aged_at"))


@PreparedQuery
def read_recent_groups(merchant: int) -> QuerySet[Any]:
    first, *others = (group(rows.filter(is_recent())) for rows in [*order_rows(merchant), *other_rows(merchant)])
    return first.union(*others, all=True)


@PreparedQuery
def read_older_groups(merchant: int) -> QuerySet[Any]:
    first, *others = (group(rows.exclude(is_recent())) for rows in [*order_rows(merchant), *other_rows(merchant)])
    return first.union(*others, all=True)


def read_causes(
    merchant: Merchant, *, older: bool = False, pools: Iterable[LicensePool] | None = None
) -> list[AttentionCause]:
    """The causes of what needs attention, worst first: what is new, or else what is `older`.

    `pools` are the merchant's with their stock, if they are in hand.
    """
    groups = (read_older_groups if older else read_recent_groups)(merchant=merchant.pk)
    stuck = [each for each in groups if each.trouble == Trouble.ITEM]
    sources = find_sources(merchant, {each.place for each in stuck})
    causes: dict[str, AttentionCause] = {}
    for each in groups:
        source = None
        if each.trouble == Trouble.ITEM and each.flag != LOOKS_WRONG:
            source = choose_source(sources[each.place], each.flag)
        slug = name_cause(each, source)
        cause = causes.setdefault(slug, AttentionCause(slug))
        cause.source = cause.source or source
        cause.add(each)
    # Test orders take keys of a test pool, but their product has the live one.
    own_pools = (merchant.pools.with_stock() if pools is None else pools) if stuck else ()
    stocks = {pool.live_id or pool.pk: pool for pool in own_pools}
    for cause in causes.values():
        describe(cause, stocks)
    return sorted(causes.values(), key=lambda cause: (cause.rank, -cause.count, cause.since))


def find_sources(merchant: Merchant, products: set[int]) -> dict[int, list[Source]]:
    """The sources of these products, in their order."""
    sources: dict[int, list[Source]] = {pk: [] for pk in products}
    if not products:
        return sources
    for method in FulfillmentMethod.objects.filter(product__in=products).with_places().order_by("position"):
        sources[method.product_id].append(method.kind)
    if without := [pk for pk in products if not sources[pk]]:
        # The same for all products of a merchant.
        product = Product(pk=without[0], merchant=merchant.vendor)
        shared = [method.kind for method in FulfillmentMethod.objects.for_all(product)]
        sources |= dict.fromkeys(without, shared)
    return sources


def choose_source(sources: list[Source], flag: str) -> Source | None:
    """Which of a product's sources keeps an item from its codes: a server, or one that has no more of them."""
    first = sources[0] if sources else None
    return next((source for source in sources if bool(source.upstream) == (flag != SHORT)), first)


def name_cause(group: Any, source: Source | None) -> str:
    """The name of a group's cause in URLs."""
    match group.trouble:
        case Trouble.ITEM if group.flag == LOOKS_WRONG:
            return LOOKS_WRONG
        case Trouble.ITEM if source is None:
            return "no-source"
        case Trouble.ITEM if source and source.upstream:
            return f"server-{source.upstream.pk}"
        case Trouble.ITEM if source:
            return f"{source.code}-{source.place.pk}" if source.place else source.code
        case Trouble.EVENT:
            return f"shop-{group.place}-{group.flag}"
        case Trouble.REJECTING:
            return f"shop-{group.place}-rejecting"
        case Trouble.UNMAPPED:
            return f"product-{group.place}"
        case Trouble.SERVER:
            return f"server-{group.place}"
    return group.trouble


def is_own(merchant: Merchant, slug: str) -> bool:
    """Whether a cause that isn't there now could be this merchant's. Those of others are a 404."""
    kind, _, rest = slug.partition("-")
    pk = rest.partition("-")[0]
    if not pk.isdecimal() or len(pk) > 18:
        return slug in {*OF_ORDERS, *Trouble, *SOURCES, LOOKS_WRONG, "no-source"}
    vendor = merchant.vendor
    if kind == "server":
        return any(model.objects.filter(pk=pk, merchant=vendor).exists() for model in upstream_models())
    if kind == "shop":
        return Connection.objects.kept().filter(pk=pk, merchant=merchant).exists()
    if kind == "product":
        return vendor.products.filter(pk=pk).exists()
    if kind not in SOURCES:
        return False
    model: Any = SOURCES[kind].method_model
    place = model.PLACE and model._meta.get_field(model.PLACE).related_model
    return bool(place) and place._default_manager.filter(pk=pk, merchant=vendor).exists()


def upstream_models() -> Iterable[Any]:
    return Upstream.kinds().values()


# Describing


def describe(cause: AttentionCause, stocks: Mapping[int, Any]) -> None:
    """Set the cause's title, reason, rank and fix."""
    if cause.slug == LOOKS_WRONG:
        describe_looks_wrong(cause)
    elif cause.source or cause.slug == "no-source":
        describe_stuck(cause, stocks)
    else:
        DESCRIPTIONS[cause.trouble](cause)


def ask(cause: AttentionCause, label: str | Promise) -> Fix:
    return Fix(label, reverse("attention-fix", args=[cause.slug]), is_question=True)


def describe_stuck(cause: AttentionCause, stocks: Mapping[int, Any]) -> None:
    cause.rank, source = 2, cause.source
    cause.reason = _("Customers who paid are waiting for their licenses.")
    if source is None:
        title = ngettext(
            "{count:,} order has a product without a source of licenses",
            "{count:,} orders have a product without a source of licenses",
            cause.count,
        )
        cause.title = title.format(count=cause.count)
        cause.fix = Fix(_("Choose a source"), reverse("product", args=[first_place(cause)]), role=Role.MANAGER)
        return
    cause.title = source.describe_stuck(cause.count)
    cause.item_fix = source.item_fix
    if source.upstream:
        label, url = source.upstream.fix
        cause.more = Fix(label, url, role=Role.MANAGER)
    place: Any = stocks.get(source.place.pk, source.place) if source.fix else None
    if source.fix and not getattr(place, "available", 0):
        label, name = source.fix
        cause.fix = Fix(label, reverse(name, args=[place.pk]), role=Role.MANAGER)
        cause.look = "empty"
    elif source.item_fix:
        cause.look, cause.rank = "waiting", 4
    else:
        if place:  # it isn't empty: it was just filled, or something else went wrong
            cause.title = describe_with_keys(cause, source)
        cause.fix = ask(cause, _("Retry all"))


def describe_with_keys(cause: AttentionCause, source: Source) -> str:
    if any(flag == SHORT for _trouble, flag in cause.places):
        return Source.describe_stuck(source, cause.count)
    title = ngettext("{source}: {count:,} order failed", "{source}: {count:,} orders failed", cause.count)
    return title.format(source=source, count=cause.count)


def first_place(cause: AttentionCause) -> int:
    return min(place for places in cause.places.values() for place in places)


def describe_looks_wrong(cause: AttentionCause) -> None:
    cause.rank = 3
    title = ngettext(
        "{count:,} order has a code that looks wrong", "{count:,} orders have a code that looks wrong", cause.count
    )
    cause.title = title.format(count=cause.count)
    cause.reason = _("It may be an error message. Open the order to release or reject it.")


MAILED = {
    Trouble.BOUNCED: (
        lambda count: ngettext("{count:,} address bounced", "{count:,} addresses bounced", count),
        _("Ask the customer for the right address, or try again if the mailbox was full."),
    ),
    Trouble.REJECTED: (
        lambda count: ngettext(
            "{count:,} e-mail was rejected by the mail provider",
            "{count:,} e-mails were rejected by the mail provider",
            count,
        ),
        _("Often the address is on the provider’s list of those that bounced before."),
    ),
    Trouble.FAILED: (
        lambda count: ngettext("{count:,} e-mail couldn’t be sent", "{count:,} e-mails couldn’t be sent", count),
        _("Refused by the mail server. The reason is next to each order."),
    ),
    Trouble.COMPLAINED: (
        lambda count: ngettext(
            "{count:,} customer marked the e-mail as spam", "{count:,} customers marked the e-mail as spam", count
        ),
        _("They may not find their license. Contact them another way."),
    ),
    Trouble.CANCELED: (
        lambda count: ngettext("{count:,} e-mail was held back", "{count:,} e-mails were held back", count),
        _("Delivery wasn’t allowed for the checkout page, and is now."),
    ),
    Trouble.QUEUED: (
        lambda count: ngettext("{count:,} e-mail is late", "{count:,} e-mails are late", count),
        _("The mail server hasn’t accepted it for over an hour. We keep trying."),
    ),
}
FIX_ADDRESS = _("Fix address"), "fix-address"


def describe_mailed(cause: AttentionCause) -> None:
    trouble = Trouble(cause.trouble)
    make_title, cause.reason = MAILED[trouble]
    cause.title, cause.rank = make_title(cause.count).format(count=cause.count), 5
    cause.look = "waiting" if trouble == Trouble.QUEUED else "bounced"
    if trouble in {Trouble.BOUNCED, Trouble.REJECTED, Trouble.FAILED}:
        cause.item_fix = FIX_ADDRESS
    if trouble in {Trouble.FAILED, Trouble.CANCELED}:
        cause.fix = ask(cause, _("Resend all"))


def describe_unmapped(cause: AttentionCause) -> None:
    title = ngettext("{sku}: {count:,} order can be mapped", "{sku}: {count:,} orders can be mapped", cause.count)
    cause.title, cause.rank, cause.look = title.format(sku=cause.label, count=cause.count), 7, "waiting"
    cause.reason = _("The product didn’t exist when it was sold, and does now.")
    cause.fix = ask(cause, _("Map all"))


def describe_held(cause: AttentionCause) -> None:
    title = ngettext("{count:,} order is being checked", "{count:,} orders are being checked", cause.count)
    cause.title, cause.rank, cause.look = title.format(count=cause.count), 6, "held"
    cause.reason = _("The shop holds it back for a check against fraud. Approve or refund it.")
    cause.item_fix = _("Approve"), "approve"
    cause.fix = ask(cause, _("Approve all"))


EVENTS: dict[str, tuple[Callable[[int], str], str | Promise, str]] = {
    ParkedBecause.UNMAPPED: (
        lambda count: ngettext(
            "{shop}: {count:,} sale of an unmapped product", "{shop}: {count:,} sales of unmapped products", count
        ),
        _("Map products"),
        "shop-products",
    ),
    ParkedBecause.NO_ADDRESS: (
        lambda count: ngettext(
            "{shop}: {count:,} sale without an e-mail address",
            "{shop}: {count:,} sales without an e-mail address",
            count,
        ),
        _("Open shop"),
        "shop",
    ),
    ParkedBecause.ACCESS: (
        lambda count: ngettext(
            "{shop}: {count:,} event needs access to the shop’s API",
            "{shop}: {count:,} events need access to the shop’s API",
            count,
        ),
        _("Enter access"),
        "shop-change",
    ),
}
ANY_EVENT: tuple[Callable[[int], str], str | Promise, str] = (
    lambda count: ngettext("{shop}: {count:,} event can’t be used", "{shop}: {count:,} events can’t be used", count),
    _("Open shop"),
    "shop",
)


def describe_events(cause: AttentionCause) -> None:
    ((_trouble, flag),) = cause.places
    make_title, label, name = EVENTS.get(flag, ANY_EVENT)
    cause.title = make_title(cause.count).format(shop=cause.label, count=cause.count)
    cause.rank, cause.look = 3, "parked"
    cause.reason = _("Until then, they can’t become orders.")
    if flag == "failed":
        cause.look, cause.reason = "failed", _("Processing failed. Open the shop to process them again.")
    url = reverse(name, args=[first_place(cause)])
    if name == "shop":
        url += "?state=failed" if flag == "failed" else f"?state=parked&cause={flag}"
    cause.fix = Fix(label, url, role=Role.MANAGER)


def describe_rejecting(cause: AttentionCause) -> None:
    cause.title, cause.rank = gettext("{shop}: we reject its requests").format(shop=cause.label), 1
    cause.look, cause.reason = "rejecting", _("What it reports doesn’t become orders.")
    cause.fix = Fix(_("Open shop"), reverse("shop", args=[first_place(cause)]), role=Role.MANAGER)


def describe_mail_server(cause: AttentionCause) -> None:
    cause.title, cause.rank, cause.reason = gettext("Your mail server rejects our login"), 0, cause.label
    cause.fix = Fix(_("Enter the password again"), reverse("mail-server"), role=Role.MANAGER)


def describe_keys(cause: AttentionCause) -> None:
    title = ngettext("{count:,} API key in use expires soon", "{count:,} API keys in use expire soon", cause.count)
    cause.title, cause.rank, cause.look = title.format(count=cause.count), 8, "waiting"
    cause.reason = _("From then on, payments that a shop reports with it are refused.")
    cause.fix = Fix(_("Replace key"), reverse("api-keys"), role=Role.OWNER)


def describe_server(cause: AttentionCause) -> None:
    ((_trouble, kind),) = cause.places
    label, url = Upstream.kinds()[kind](pk=first_place(cause)).fix
    cause.fix = Fix(label, url, role=Role.MANAGER)
    cause.title = gettext("{server} has failed since {since}").format(
        server=cause.label, since=format_since(cause.since or timezone.now())
    )
    cause.rank, cause.look = 2, "paused"
    cause.reason = _("Orders that need it wait until it answers again.")


DESCRIPTIONS: dict[str, Callable[[AttentionCause], None]] = {
    **dict.fromkeys(MAILED, describe_mailed),
    Trouble.UNMAPPED: describe_unmapped,
    Trouble.HELD: describe_held,
    Trouble.EVENT: describe_events,
    Trouble.REJECTING: describe_rejecting,
    Trouble.MAIL_SERVER: describe_mail_server,
    Trouble.API_KEY: describe_keys,
    Trouble.SERVER: describe_server,
}


# Rows


@dataclass
class Row:
    """One of a cause's things: an order, or something else."""

    thing: int
    occurrences: list[Occurrence] = field(default_factory=list)
    detail: str = ""  # the reason
    since: datetime | None = None
    order: Order | None = None
    part: int = 0

    @property
    def seen(self) -> str:
        return digest(self.occurrences)


ROWS: dict[str, Callable[[int], list[QuerySet[Any]]]] = {
    Trouble.ITEM: lambda merchant: [stuck_fulfillments().filter(order__merchant=merchant)],
    **dict.fromkeys(MAILED, lambda merchant: [lost_deliveries().filter(merchant=merchant)]),
    Trouble.QUEUED: lambda merchant: [late_deliveries().filter(merchant=merchant)],
    Trouble.UNMAPPED: lambda merchant: [mappable_items().filter(order__merchant=merchant)],
    Trouble.HELD: lambda merchant: [held_orders().filter(merchant=merchant)],
    Trouble.EVENT: lambda merchant: [unused_events(merchant)],
    Trouble.REJECTING: lambda merchant: [rejecting_shops(merchant)],
    Trouble.MAIL_SERVER: lambda merchant: [refusing_mail_servers(merchant)],
    Trouble.API_KEY: lambda merchant: [expiring_keys(merchant)],
    Trouble.SERVER: down_upstreams,
}


def find_rows(
    cause: AttentionCause, merchant: Merchant, *, older: bool, things: Iterable[int] = ()
) -> list[QuerySet[Any]]:
    """The rows of a cause, or only those of these things."""
    chosen = Q(thing__in=list(things)) if things else Q()
    age = ~is_recent() if older else is_recent()
    return [
        rows.filter(chosen, age, trouble=trouble, flag=flag, place__in=places)
        for (trouble, flag), places in cause.places.items()
        for rows in ROWS[trouble](merchant.pk)
    ]


def read_rows(shown: list[tuple[AttentionCause, list[int]]], merchant: Merchant, *, older: bool) -> list[list[Row]]:
    """The rows of these things of each cause, in their order."""
    found: list[dict[int, Row]] = [{thing: Row(thing) for thing in things} for _, things in shown]
    numbers = {
        (trouble, flag, place): number
        for number, (cause, _) in enumerate(shown)
        for (trouble, flag), places in cause.places.items()
        for place in places
    }
    wanted: dict[Any, set[int]] = defaultdict(set)  # by what makes the query, because causes share some
    for cause, things in shown:
        for trouble, _flag in cause.places:
            wanted[ROWS[trouble]].update(things)
    age = ~is_recent() if older else is_recent()
    queries = [
        rows.filter(age, thing__in=list(things)).order_by()
        for make_rows, things in wanted.items()
        for rows in (make_rows(merchant.pk) if things else ())
    ]
    if queries:
        columns = ("trouble", "flag", "place", "pk", "occurred_at", "thing", "aged_at", "detail", "part")
        first, *others = (rows.values_list(*columns) for rows in queries)
        for trouble, flag, place, pk, occurred_at, thing, aged_at, detail, part in first.union(*others, all=True):
            number = numbers.get((trouble, flag, place))
            row = None if number is None else found[number].get(thing)
            if row is None:
                continue
            row.occurrences.append((trouble, pk, occurred_at, thing))
            row.detail, row.part = row.detail or detail, row.part or part
            row.since = min(filter(None, [row.since, aged_at]))
    orders = merchant.orders.only("merchant", "number", "email", "first_name", "last_name", "reported_at").in_bulk(
        {thing for cause, things in shown if cause.has_orders for thing in things}
    )
    for (cause, _things), rows_of_cause in zip(shown, found, strict=True):
        for row in rows_of_cause.values() if cause.has_orders else ():
            row.order = orders.get(row.thing)
    # Somebody may have dealt with some in the meantime.
    return [[row for row in rows_of_cause.values() if row.occurrences] for rows_of_cause in found]


def find_rows_of(cause: AttentionCause, merchant: Merchant, trouble: str, *, older: bool) -> QuerySet[Any]:
    """The rows of a cause that have this trouble. All have the same model."""
    (rows,) = ROWS[trouble](merchant.pk)
    chosen = [Q(flag=flag, place__in=places) for (name, flag), places in cause.places.items() if name == trouble]
    condition = Q(pk__in=[])
    for each in chosen:
        condition |= each
    return rows.filter(condition, ~is_recent() if older else is_recent(), trouble=trouble)


def may_use(member: Member, fix: Fix | None) -> bool:
    return fix is not None and member.may(fix.role)
