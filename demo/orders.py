"""Past orders for the demo, by the hundred thousand.

The rows look as if payments, e-mails, refunds and people had created them. They are copied into the tables directly,
so nothing is due and no e-mail is sent. They bring their own keys; the stock stays as it is. While PostgreSQL stores
a chunk, a thread generates the next one.
"""

import secrets
import time
from base64 import b32encode
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from math import sqrt
from random import Random
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Max, Model
from django.utils import timezone

from delivery.models import DeliveredCode, Delivery
from demo.shop import Article, DemoShop
from fulfillment.models import Fulfillment, FulfillmentMethod
from fulfillment.sources.manual.source import ManualSource
from fulfillment.sources.pool.models import PoolMethod
from merchants.models import Merchant, Product
from orders.content import digest_content
from orders.license_texts import hints, loose_fingerprints
from orders.models import ActivationCode, Order, OrderEvent, OrderItem, Refund
from outbound.mail import make_message_id
from pools.allocation import advance_head_hint
from pools.imports import import_keys
from pools.ledger import fold_changes
from pools.models import KeyBatch, LicenseKey, LicensePool
from vault.ciphers import encrypt_all
from vault.fields import EncryptedTextField
from vault.fingerprints import fingerprints, load_key

SPAN = timedelta(days=730)
CHUNK = 10_000  # orders per transaction
FIRST_NUMBER = 10_000_001

# SKU, name, price, popularity, keys in stock. None: the merchant enters the codes.
ARTICLES = [
    ("PHOTO-PRO", "Photo Pro", "29.99", 36, 1000),
    ("PHOTO-LITE", "Photo Lite", "9.99", 30, 1000),
    ("PHOTO-STUDIO", "Photo Studio", "149.00", 12, 1000),
    ("AUDIO-MIX", "Audio Mix", "49.00", 12, 1000),
    ("VIDEO-CUT", "Video Cut", "79.00", 9, 0),
    ("PHOTO-CARE", "Photo Care", "99.00", 1, None),
]

# Shares of all orders.
DELETED = 0.02
TERMINATED = 0.005
PARTLY_REFUNDED = 0.01
RESENT = 0.01

# New rows of all tables. They refer to each other by their index in these lists.
Rows = dict[type[Model], list[dict]]


def add_orders(merchant: Merchant, count: int, *, seed: int = 1, progress: Callable[[str], object] = print) -> None:
    """Add orders to the demo's merchant. Each chunk is a transaction, so orders are never incomplete."""
    first = next_number(merchant)
    rng = Random(f"{seed}/{first}")  # noqa: S311 (nothing secret comes from it)
    articles = assortment(merchant, rng)
    past = Past(merchant, articles, count, rng)
    pools = {article.pool for article in articles if article.pool}
    stocks = {pool.pk: DemoStock(pool, past.start) for pool in pools}

    load_key()  # the thread doesn't see uncommitted rows
    done, started_at = 0, time.perf_counter()
    for rows in ahead(past.chunks(first)):
        store(rows, stocks)
        done += len(rows[Order])
        progress(f"{done:,} of {count:,} orders")
    for pool in pools:
        advance_head_hint(pool)
    fold_changes()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    seconds = time.perf_counter() - started_at
    progress(f"{count:,} orders in {seconds:,.1f} seconds: {count / seconds:,.0f} per second")


def ahead(values: Iterator[Rows]) -> Iterator[Rows]:
    """Yield the values; a thread computes the next one in the meantime."""
    with ThreadPoolExecutor(1) as executor:
        coming = executor.submit(next, values, None)
        while (value := coming.result()) is not None:
            coming = executor.submit(next, values, None)
            yield value


def next_number(merchant: Merchant) -> int:
    last = merchant.orders.filter(number__regex=r"^B\d{10}$").aggregate(last=Max("number"))["last"]
    return max(FIRST_NUMBER, int(last[1:]) + 1) if last else FIRST_NUMBER


def assortment(merchant: Merchant, rng: Random) -> list[Article]:
    articles = []
    for sku, name, price, popularity, stock in ARTICLES:
        product, created = Product.objects.get_or_create(merchant=merchant, sku=sku, defaults={"name": name})
        if created:
            make_method(product, stock, rng)
        if method := product.fulfillment_methods.with_places().first():
            articles.append(Article(product, method, Decimal(price), popularity))
    return articles


def make_method(product: Product, stock: int | None, rng: Random) -> None:
    if stock is None:
        FulfillmentMethod.objects.create(product=product, source=ManualSource.code)
        return
    pool = LicensePool.objects.create(
        merchant=product.merchant,
        name=product.name,
        threshold=100,
        # The merchant was already notified.
        notified=LicensePool.Notice.NONE if stock else LicensePool.Notice.EMPTY,
    )
    PoolMethod.objects.create(product=product, pool=pool)
    if stock:
        import_keys(pool, [license_text(rng) for _ in range(stock)], actor="demo")


def license_text(rng: Random) -> str:
    text = b32encode(rng.randbytes(13)).decode()
    return f"{text[:5]}-{text[5:10]}-{text[10:15]}-{text[15:20]}"


class DemoStock:
    """A batch of keys, all issued to past orders, positioned after the pool's existing keys."""

    def __init__(self, pool: LicensePool, imported_at: datetime):
        self.pool = pool
        self.imported_at = imported_at
        self.batch: KeyBatch | None = None

    def place(self, keys: list[dict]) -> None:
        # Keeps others from adding keys at these positions until the transaction ends.
        pool = LicensePool.objects.select_for_update(no_key=True).get(pk=self.pool.pk)
        if self.batch is None:
            self.batch = KeyBatch.objects.create(
                pool=pool, key_count=0, note="Keys of past orders", imported_by="demo", imported_at=self.imported_at
            )
        for position, key in enumerate(keys, start=pool.next_position):
            key.update(batch_id=self.batch.pk, position=position)
        KeyBatch.objects.filter(pk=self.batch.pk).update(key_count=F("key_count") + len(keys))
        LicensePool.objects.filter(pk=pool.pk).update(next_position=F("next_position") + len(keys))


def store(rows: Rows, stocks: dict[int, DemoStock]) -> None:
    """Copy rows into their tables in one transaction, with ids from the tables' sequences."""
    with transaction.atomic():
        for pool, stock in sorted(stocks.items()):
            if keys := [key for key in rows.get(LicenseKey, []) if key["pool_id"] == pool]:
                stock.place(keys)
        ids = {model: reserve_ids(model, len(new)) for model, new in rows.items()}
        for model, new in rows.items():
            copy_rows(model, new, ids)


def reserve_ids(model: type[Model], count: int) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(sequence)"
            " FROM generate_series(1, %s), CAST(pg_get_serial_sequence(%s, 'id') AS regclass) sequence",
            [count, model._meta.db_table],
        )
        return list(chain.from_iterable(cursor.fetchall()))


def copy_rows(model: type[Model], rows: list[dict], ids: dict[type[Model], list[int]]) -> None:
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for field in model._meta.concrete_fields:
        if field.related_model in ids and field.attname in columns:
            columns[field.attname] = [ids[field.related_model][place] for place in columns[field.attname]]
    columns["id"] = ids[model]
    for field in model._meta.concrete_fields:
        if isinstance(field, EncryptedTextField) and field.attname in columns:
            owners = zip(*(columns[name] for name in field.bound_to), strict=True)
            columns[field.attname] = encrypt_all(columns[field.attname], list(map(field.place, owners)))

    names, table = ", ".join(columns), model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {names} FROM {table} LIMIT 0")  # noqa: S608 (our own names)
        types = [column.type_code for column in cursor.description]
        with cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(types)
            for row in zip(*columns.values(), strict=True):
                copy.write_row(row)


def add_fingerprints(rows: Rows) -> None:
    """Add the fingerprints and hints of all texts, faster than one by one."""
    orders, codes = rows[Order], rows[ActivationCode]
    for order, digest in zip(orders, fingerprints([order["link_token"] for order in orders]), strict=True):
        order["link_fingerprint"] = digest
    texts = [code["code"] for code in codes]
    derived = zip(fingerprints(texts), loose_fingerprints(texts), hints(texts), strict=True)
    known = dict(zip(texts, derived, strict=True))
    for row in chain(codes, rows[LicenseKey]):
        row["fingerprint"], row["loose_fingerprint"], row["hint"] = known[row["code"]]


class Past:
    """Generates the rows of `count` orders, from two years ago until now."""

    def __init__(self, merchant: Merchant, articles: list[Article], count: int, rng: Random):
        main, _ = merchant.checkout_pages.get_or_create(code="main", defaults={"name": "Main shop"})
        partner, _ = merchant.checkout_pages.get_or_create(code="partner", defaults={"name": "Partners’ shop"})
        self.merchant = merchant
        self.shop = DemoShop(articles, [*6 * [main], partner], rng)
        self.count = count
        self.rng = rng
        self.end = timezone.now().astimezone(UTC).replace(microsecond=0) - timedelta(minutes=1)
        self.start = self.end - SPAN
        self.out_of_stock = [one for one in articles if not (one.pool and one.pool.available_up_to(1))]
        self.people = [str(member.user) for member in merchant.members.select_related("user")] or ["demo"]
        self.rows: Rows = defaultdict(list)
        # Problems are recent, since people fix them.
        self.waiting = self._some(0.985, 1, about=40)
        self.failed = self._some(0.96, 0.985, about=20)
        self.refused = self._some(0.9, 1, about=30)
        self.corrected = self._some(0, 0.9, about=40)

    def _some(self, start: float, end: float, *, about: int) -> range:
        """Return about this many orders from a range, given as shares of all from the oldest; at most every tenth."""
        first, last = int(start * self.count), int(end * self.count)
        return range(first, last, max(10, (last - first) // about))

    def chunks(self, first_number: int) -> Iterator[Rows]:
        for start in range(0, self.count, CHUNK):
            self.rows = defaultdict(list)
            for index in range(start, min(start + CHUNK, self.count)):
                self._add_order(index, f"B{first_number + index:010}")
            add_fingerprints(self.rows)
            yield {model: rows for model, rows in self.rows.items() if rows}

    def _add(self, model: type[Model], **row: object) -> int:
        """Add a row and return its index."""
        self.rows[model].append(row)
        return len(self.rows[model]) - 1

    def _add_order(self, index: int, number: str) -> None:
        basket = self._basket(index)
        payment = self.shop.payment(number, self._paid_at(index), basket)
        reported_at = payment["paid_at"] + self._seconds(2, 20)
        stuck = index in self.failed or basket[0] in self.out_of_stock and index in self.waiting
        status = Order.Status.PAID if stuck or index in self.corrected else self._status()
        order = self._order(payment, status, reported_at)

        codes: dict[datetime, list[int]] = defaultdict(list)  # by the time they were saved
        for article, reported in zip(basket, payment["items"], strict=True):
            item, units = self._item(order, reported)
            if stuck and article is basket[0]:
                self._note_stuck(item, article, reported_at)
            else:
                saved_at = reported_at if article.pool else self._later(reported_at, days=1)
                self._fulfillment(item, reported_at, Fulfillment.Status.DONE, ended_at=saved_at)
                codes[saved_at] += [self._code(item, unit, article, saved_at) for unit in range(1, units + 1)]

        email = payment["customer"]["email"]
        for saved_at, saved in codes.items():
            self._mail(order, index, email, saved_at, saved)
        self._refund(order, payment, status)

    def _basket(self, index: int) -> list[Article]:
        basket = self.shop.basket()
        if index < self.waiting.start and index not in self.failed:
            return basket
        # Recent orders wait for products that are out of stock, sometimes together with other products.
        rest = [article for article in basket if article not in self.out_of_stock]
        if index in self.waiting and self.out_of_stock:
            return [self.rng.choice(self.out_of_stock), *rest[1:]]
        return rest or self.shop.articles[:1]

    def _paid_at(self, index: int) -> datetime:
        """Return a time; later times are more likely."""
        return (self.start + SPAN * sqrt((index + self.rng.random()) / self.count)).replace(microsecond=0)

    def _seconds(self, least: int, most: int) -> timedelta:
        return timedelta(milliseconds=self.rng.randrange(1000 * least, 1000 * most))

    def _later(self, moment: datetime, *, days: int) -> datetime:
        """Return a time in the days after, but not in the future."""
        return max(moment, min(moment + days * timedelta(days=1) * self.rng.random(), self.end))

    def _status(self) -> Order.Status:
        chance = self.rng.random()
        if chance < DELETED:
            return Order.Status.DELETED
        return Order.Status.TERMINATED if chance < DELETED + TERMINATED else Order.Status.PAID

    def _order(self, payment: dict, status: Order.Status, reported_at: datetime) -> int:
        copied = ("paid_at", "currency", "language", "additional_parameters")
        return self._add(
            Order,
            merchant_id=self.merchant.pk,
            number=payment["order"],
            status=status,
            reported_at=reported_at,
            reported_by="API key demo shop",
            checkout_page_id=payment["checkout_page"].pk,
            content=digest_content(payment),
            link_token=secrets.token_urlsafe(24),  # secret even in a demo
            **{name: payment[name] for name in copied},
            **payment["customer"],
        )

    def _item(self, order: int, reported: dict) -> tuple[int, int]:
        """Add an item; return it and the number of codes it needs."""
        units = reported["product"].units(reported["quantity"])
        item = self._add(
            OrderItem,
            order_id=order,
            reference=reported["item"],
            product_id=reported["product"].pk,
            quantity=reported["quantity"],
            units=units,
            total_price=Decimal(reported["total_price"]),
            parent_order="",
        )
        return item, units

    def _note_stuck(self, item: int, article: Article, reported_at: datetime) -> None:
        if article in self.out_of_stock:
            status, ended_at, attempts = Fulfillment.Status.WAITING, reported_at, 0
            reason = article.method.kind.shortage()
        else:
            status, ended_at, attempts = Fulfillment.Status.FAILED, reported_at + Fulfillment.FAILURE_TIMEOUT, 115
            reason = "Something went wrong on our side (reference 7F3A-21)."
        self._fulfillment(item, reported_at, status, ended_at=ended_at, reason=reason, attempts=attempts)

    def _fulfillment(
        self,
        item: int,
        created_at: datetime,
        status: Fulfillment.Status,
        *,
        ended_at: datetime,
        reason: str = "",
        attempts: int = 0,
    ) -> None:
        done_at = ended_at if status == Fulfillment.Status.DONE else None
        times: dict[str, Any] = {"created_at": created_at, "ended_at": ended_at, "done_at": done_at, "due_at": None}
        self._add(Fulfillment, item_id=item, status=status, reason=reason, attempts=attempts, **times)

    def _code(self, item: int, unit: int, article: Article, saved_at: datetime) -> int:
        text = license_text(self.rng)
        code: dict[str, Any] = {"code": text, "item_id": item, "unit": unit}
        if article.pool:
            self._add(LicenseKey, pool_id=article.pool.pk, issued_at=saved_at, **code)
        actor = "" if article.pool else self.rng.choice(self.people)
        source = article.method.source
        return self._add(ActivationCode, source=source, saved_by=actor, saved_at=saved_at, withdrawn_by="", **code)

    def _mail(self, order: int, index: int, email: str, saved_at: datetime, codes: list[int]) -> None:
        """Add the e-mail with new codes and its delivery reports."""
        if index in self.refused:
            self._delivery(order, email, saved_at, codes, refused=True)
        elif index in self.corrected:
            mistyped, corrected_at = email.replace("example", "exmaple"), self._later(saved_at, days=3)
            self._delivery(order, mistyped, saved_at, codes, refused=True)
            person = self.rng.choice(self.people)
            what = {"kind": OrderEvent.Kind.ADDRESS_CORRECTED, "details": {"before": mistyped, "after": email}}
            self._add(OrderEvent, order_id=order, happened_at=corrected_at, happened_by=person, **what)
            self._delivery(order, email, corrected_at, codes, actor=person)
        else:
            self._delivery(order, email, saved_at, codes)
            if self.rng.random() < RESENT:
                resent_at = self._later(saved_at, days=60)
                self._delivery(order, email, resent_at, codes, actor=self.rng.choice(self.people))

    def _delivery(
        self, order: int, email: str, created_at: datetime, codes: list[int], *, actor: str = "", refused: bool = False
    ) -> None:
        """Add an e-mail; a resend if `actor` is given."""
        ended_at = created_at + self._seconds(1, 3)
        delivery = self._add(
            Delivery,
            merchant_id=self.merchant.pk,
            order_id=order,
            kind=Delivery.Kind.RESEND if actor else Delivery.Kind.AUTOMATIC,
            status=Delivery.Status.FAILED if refused else Delivery.Status.SENT,
            recipient=email,
            message_id=make_message_id(),
            sent_at=None if refused else ended_at,
            requested_by=actor,
            created_at=created_at,
            due_at=None,
            attempts=1,
            ended_at=ended_at,
            reason=f"The mail server rejected the address: 550 5.1.1 <{email}>: User unknown" if refused else "",
        )
        for code in codes:
            self._add(DeliveredCode, delivery_id=delivery, code_id=code, automatic=not actor)

    def _refund(self, order: int, payment: dict, status: Order.Status) -> None:
        amount = sum((Decimal(item["total_price"]) for item in payment["items"]), Decimal(0))
        if status == Order.Status.PAID:
            if self.rng.random() >= PARTLY_REFUNDED:
                return
            amount = (amount / 4).quantize(Decimal("0.01"))
        elif status != Order.Status.DELETED:
            return
        refunded_at = self._later(payment["paid_at"] + timedelta(minutes=1), days=30)
        reference, actor = f"R{payment['order'][1:]}", "API key demo shop"
        self._add(
            Refund, order_id=order, amount=amount, reference=reference, refunded_at=refunded_at, refunded_by=actor
        )
