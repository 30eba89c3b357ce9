from delivery import link_requests
from delivery import sending as delivery
from delivery.models import Delivery, LinkRequest
from fulfillment import engine
from fulfillment.models import Fulfillment, FulfillmentMethod
from fulfillment.sources.netlicensing import deactivation
from fulfillment.sources.netlicensing.models import Deactivation
from fulfillment.sources.pool.models import PoolMethod
from merchants.models import Product
from notices import sending as notices
from notices.models import MerchantNotice
from pools.models import LicensePool
from pools.tests.factories import make_pool
from webhooks import sending as webhooks
from webhooks.models import WebhookMessage


def make_product(merchant, keys=10, *, pool=None, source="pool", sku="SKU-1", name="Program 1", **fields):
    product = Product.objects.create(merchant=merchant, sku=sku, name=name, **fields)
    if source == "pool":
        PoolMethod.objects.create(product=product, pool=pool or make_pool(merchant, keys, name=f"Pool of {sku}"))
    elif source:
        FulfillmentMethod.objects.create(product=product, source=source)
    return product


def fulfill_due():
    """Ask the sources that are due. Cheaper than `work`, which also writes an e-mail for each order."""
    for model, attempt in ((Fulfillment, engine.fulfill), (Deactivation, deactivation.deactivate)):
        for row in model.objects.due().order_by("due_at", "pk"):
            attempt(row.pk)


def work():
    """Do all due work, as the workers would."""
    for pool in LicensePool.objects.all():
        engine.serve_waiting(pool)
    fulfill_due()
    for model, attempt in (
        (Delivery, delivery.deliver),
        (WebhookMessage, webhooks.send),
        (MerchantNotice, notices.send_notice),
        (LinkRequest, link_requests.send_links),
    ):
        for row in model.objects.due():
            attempt(row.pk)
