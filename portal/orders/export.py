import csv
import re
from collections.abc import Iterator
from decimal import Decimal

from django.contrib.postgres.aggregates import StringAgg
from django.db.models import CharField, ExpressionWrapper, F, OuterRef, QuerySet, Subquery, Sum, TextField, Value
from django.db.models.functions import Cast, Coalesce, Concat

from delivery.models import Delivery
from fulfillment.models import Fulfillment
from orders.models import OrderItem, OrderQuerySet, OtherItem, Refund
from orders.money import MoneyField
from portal.orders.forms import UNMAPPED

COLUMNS = {
    "Order": "number",
    "Status": "status",
    "Reported": "reported_at",
    "Paid": "paid_at",
    "E-mail": "email",
    "First name": "first_name",
    "Last name": "last_name",
    "Company": "company",
    "Country": "country",
    "Currency": "currency",
    "Total": "total_price",
    "Refunded": "refunded",
    "Checkout page": "checkout_page__code",
    "Products": "products",
    "Not ours": "not_ours",
    "Fulfillment": "fulfillment_states",
    "Last e-mail": "last_delivery",
}
# Orders that are read at a time.
BATCH_SIZE = 2000
# Spreadsheets treat a cell that starts with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


class Echo:
    """A file-like object whose `write` returns the text."""

    def write(self, text: str) -> str:
        return text


def export_orders(orders: OrderQuerySet) -> Iterator[str]:
    """Stream the orders as CSV lines, without license texts."""
    writer = csv.writer(Echo())
    yield "\ufeff"  # lets spreadsheets detect UTF-8
    yield writer.writerow(COLUMNS)
    pks = list(orders.values_list("pk", flat=True))
    for start in range(0, len(pks), BATCH_SIZE):
        batch = orders.filter(pk__in=pks[start : start + BATCH_SIZE])
        for row in _with_columns(batch).values_list(*COLUMNS.values()):
            yield writer.writerow(map(escape_formula, row))


def _with_columns(orders: OrderQuerySet) -> OrderQuerySet:
    items = OrderItem.objects.filter(order=OuterRef("pk")).order_by().values("order")
    others = OtherItem.objects.filter(order=OuterRef("pk")).order_by().values("order")
    sold = Concat("product__sku", Value(" × "), Cast("quantity", CharField()))
    not_ours = Concat("product", Value(" × "), Cast("quantity", CharField()))
    distinct = StringAgg(F("status"), ", ", distinct=True)
    states = Fulfillment.objects.filter(item__order=OuterRef("pk")).order_by().values("item__order")
    deliveries = Delivery.objects.filter(order=OuterRef("pk")).order_by("-pk").values("status")
    refunds = Refund.objects.filter(order=OuterRef("pk")).order_by().values("order")
    return orders.annotate(
        total_price=ExpressionWrapper(_sum(items) + _sum(others), output_field=MoneyField()),
        products=Subquery(items.annotate(all=StringAgg(sold, ", ", order_by="pk")).values("all")),
        not_ours=Subquery(others.annotate(all=StringAgg(not_ours, ", ", order_by="pk")).values("all")),
        fulfillment_states=Coalesce(
            Subquery(states.annotate(all=distinct).values("all")), Value(UNMAPPED), output_field=TextField()
        ),
        last_delivery=Coalesce(Subquery(deliveries[:1]), Value("none")),
        refunded=Subquery(refunds.annotate(sum=Sum("amount")).values("sum")),
    )


def _sum(items: QuerySet) -> Coalesce:
    zero = Value(Decimal(0), output_field=MoneyField())
    return Coalesce(Subquery(items.annotate(sum=Sum("total_price")).values("sum")), zero)


def escape_formula(value) -> str:
    """Escape a value so that spreadsheets show it as text, because customers choose their names."""
    text = "" if value is None else str(value)
    # Spreadsheets in locales with a decimal comma split cells at semicolons.
    text = re.sub(r";(?=\s*[=+\-@＝＋－＠])", ";'", text)  # noqa: RUF001
    return f"'{text}" if text.lstrip().startswith(FORMULA_STARTS) or text.startswith(FORMULA_STARTS) else text
