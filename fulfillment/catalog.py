"""Reads what a payment refers to, in one statement: checkout page, products, their sources and webhook endpoints."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from fulfillment.models import FulfillmentMethod
from merchants.models import CheckoutPage, Merchant, Product
from orders.kinds import SOURCES
from webhooks.models import WebhookEndpoint, WebhookEvent
from work import sql

CATALOG = """
    SELECT {page}, {product}, method.id AS method, method.position, method.source, {places}
        ARRAY(
            SELECT id FROM webhooks_webhookendpoint
            WHERE merchant_id = %(merchant)s AND disabled_at IS NULL AND events @> ARRAY[%(event)s]::varchar[]
        ) AS listeners
    FROM merchants_merchant merchant
    LEFT JOIN merchants_checkoutpage page ON page.merchant_id = merchant.id AND page.code = %(page)s
    LEFT JOIN merchants_product product ON product.merchant_id = merchant.id
        AND product.sku = ANY(ARRAY(SELECT json_array_elements_text(%(skus)s::json)))
    LEFT JOIN fulfillment_fulfillmentmethod method ON method.product_id = product.id
    {joins}
    WHERE merchant.id = %(vendor)s
    ORDER BY product.id, method.position
"""


@dataclass(frozen=True)
class Catalog:
    page: CheckoutPage | None
    products: dict[str, Product]  # by SKU, with `loaded_methods`


def read_catalog(merchant: Merchant, page: str, skus: set[str]) -> Catalog:
    """Read a merchant's checkout page and products; for a sandbox, its vendor's. Sets `merchant.loaded_listeners`.

    Places of sources that aren't immediate are left out, because workers read them.
    """
    event = WebhookEvent.ORDER_PAID
    rows = sql.run(
        _statement(),
        merchant=merchant.pk,
        vendor=merchant.vendor_id,
        page=page,
        skus=list(skus),
        event=str(event),
    )
    merchant.loaded_listeners = {event: [WebhookEndpoint(pk=pk) for pk in rows[0].listeners]}
    products: dict[str, Product] = {}
    for row in rows:
        if row.product__sku is None:
            continue
        product = products.get(row.product__sku)
        if product is None:
            product = products[row.product__sku] = sql.build(Product, row, len(CheckoutPage._meta.concrete_fields))
            product.merchant, product.loaded_methods = merchant.vendor, []
        if row.method:
            product.loaded_methods.append(_build_method(product, row))
    return Catalog(sql.build(CheckoutPage, rows[0]) if rows[0].page__id else None, products)


def _build_method(product: Product, row: Any) -> FulfillmentMethod:
    model = SOURCES[row.source].method_model
    fields = {"pk": row.method, "product": product, "position": row.position, "source": row.source}
    if model in _immediate_models():
        fields[f"{model.PLACE}_id"] = getattr(row, model._meta.db_table)
        return model(**fields)
    return FulfillmentMethod(**fields)


@cache
def _immediate_models() -> list[type[FulfillmentMethod]]:
    """Models of methods that take codes from a place in our database."""
    kinds = SOURCES.values()
    return [kind.method_model for kind in kinds if kind.immediate and kind.method_model.PLACE]


@cache
def _statement() -> str:
    tables = {model._meta.db_table: model for model in _immediate_models()}
    return CATALOG.format(
        page=sql.columns(CheckoutPage, "page"),
        product=sql.columns(Product, "product"),
        places="".join(f"{table}.{model.PLACE}_id AS {table}, " for table, model in tables.items()),
        joins=" ".join(f"LEFT JOIN {table} ON {table}.fulfillmentmethod_ptr_id = method.id" for table in tables),
    )
