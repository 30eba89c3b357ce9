"""All pages are accessible, small, and run few queries."""

import json
import re
from datetime import timedelta
from decimal import Decimal
from functools import cache, partial
from itertools import pairwise

import pytest
from allauth.mfa.models import Authenticator
from anymail.signals import AnymailTrackingEvent
from django.contrib import admin
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from delivery.models import Delivery
from delivery.resending import resend
from delivery.tracking import record
from fulfillment.models import Fulfillment, FulfillmentMethod, SetupRequest
from fulfillment.product_sources import add_source
from fulfillment.setup import submit
from fulfillment.sources.netlicensing.models import Deactivation
from fulfillment.sources.web_service.models import WebService
from fulfillment.sources.web_service.parameters import CATALOG, add_defaults
from licensing import models as licensing
from licensing.creation import create_license, create_licensee
from merchants.models import ApiKey, EmailTemplate, Member, Merchant, User
from merchants.team import invite
from orders.models import ActivationCode, Order, OrderItem, Subscription
from orders.services import correct_email, refund, reveal
from outbound import mail_files
from outbound.mail_files import newest
from outbound.models import MailAccount, OutgoingRequest
from pools.models import KeyImport, LicensePool, UploadLink
from pools.tests.factories import stock
from pools.uploads import begin, confirm
from pools.withdrawal import undo
from portal.customer.upload_link import sign_import
from portal.test_orders.placing import send_test_order
from portal.tests.browsing import check, check_width, look_in
from runtime.tests.installation import TIMEOUT
from shops.changes import Cause
from shops.connecting import connect
from shops.kinds import KINDS
from shops.models import Connection
from webhooks.models import WebhookEndpoint, WebhookEvent, WebhookMessage

pytestmark = pytest.mark.django_db(transaction=True)

MAX_BYTES = 150_000
MAX_QUERIES = 12


@pytest.fixture(autouse=True)
def mailbox(settings, tmp_path):
    """E-mails go to files, so that there is a mailbox."""
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = mail_files.BACKEND, str(tmp_path)


@pytest.fixture
def order(pay, make_product, make_member, work, outsider, merchant):
    """An order with a long history, among enough others to fill a page."""
    for number in range(55):
        pay(make_product(keys=1), order=f"B{number}")
    pay(make_product(keys=3, name="Photo Pro"), make_product(source="manual"), order="A1", quantity=3)
    pay(make_product(keys=40, name="Photo Plus"), order="A2", quantity=40)  # more codes than a page shows
    order = Order.objects.get(number="A1")
    test_page = merchant.checkout_pages.create(code="x" * 50, name="long " * 40)
    send_test_order(
        merchant,
        product=merchant.products.get(name="Photo Pro"),
        quantity=3,
        recipient=merchant.members.get(role="owner").user,
        checkout_page=test_page,
        language="de",
        actor="Max (max@northlight.example)",
    )
    renewed = Subscription.objects.create(merchant=merchant, reference="S-77", type="AR", period="P1Y")
    OrderItem.objects.filter(order__number__in=["A1", *(f"B{number}" for number in range(15))]).update(
        subscription=renewed, parent_order="B0"
    )
    work()
    for event_type in ("delivered", "opened", "bounced"):
        event = AnymailTrackingEvent(
            event_type=event_type,
            message_id=order.deliveries.earliest("pk").message_id,
            description="The mailbox is full.",
            timestamp=timezone.now(),
        )
        record(event, provider="postmark")
    correct_email(order, "ada.augusta.byron-king@analytical-engines.example", actor="Sam")
    code = ActivationCode.objects.filter(item__order=order).earliest("pk")
    reveal(code, actor="Sam")
    resend(code.item, code, actor="Sam")
    refund(order, amount=Decimal(10), actor="Olivia")
    Fulfillment.objects.filter(item__order=order).exclude(status="done").update(
        created_at=timezone.now() - timedelta(hours=2), reason="Waiting for a person to enter the code."
    )
    Delivery.objects.filter(order__number="B7").update(
        status="failed", reason="The mail server knows no such address."
    )
    invite(merchant, email="guest@northlight.example", role=Member.Role.MANAGER, actor=merchant.members.get().user)
    make_member(Member.Role.MANAGER, first_name="Max")
    MailAccount.objects.create(
        merchant=merchant,
        kind="postmark",
        sender="licenses@northlight.example",
        credentials='{"password": "", "tracking_secret": ""}',
        saved_by="Max",
        reason="The mail provider didn’t accept the e-mail: 401 Unauthorized",
    )
    EmailTemplate.objects.create(merchant=merchant, language="de", body="Hallo {FULLNAME}\n\n{KEY}", saved_by="Max")
    make_endpoints(merchant)
    make_services(merchant, order)
    make_service_with_everything(merchant)
    make_account(merchant, order)
    make_stock(merchant, pay, make_product)
    make_imports(merchant)
    make_uploads(merchant)
    make_licensing(merchant, code)
    make_api_keys(merchant)
    make_shops(merchant, order)
    Order.objects.filter(number="B9").update(held_until=timezone.now() + timedelta(days=1))
    return order


def make_shops(merchant, order):
    """Shops in several states. The first has a log and products of more than a page."""
    long, long_ago = "long" * 25, timezone.now() - timedelta(days=1)
    shop = connect(merchant, "woocommerce", name=long, secret="x", values={"store": f"https://{long}.example"})
    rejected: dict = {"rejected_at": timezone.now(), "rejected_because": "The signature is wrong."}
    for number, state in enumerate([{"disabled_at": long_ago}, rejected]):
        Connection.objects.filter(pk=connect(merchant, "stripe", name=f"Shop {number}").pk).update(**state)
    body = json.dumps({"billing": {"first_name": "Ada"}, "meta_data": [{"key": long, "value": 1}] * 2000})
    for number in range(30):
        external = shop.external_products.create(external_id=f"{long}{number}", name=long)
        shop.events.create(
            key=f"{number}",
            topic="order.updated",
            body=body.encode(),
            state="parked",
            cause=Cause.values[number % 7],
            waits_for=[external.external_id],
            reason="These products aren’t mapped to yours. " * 10,
            order=order,
            due_at=None,
        )
    for number in range(30):
        external = shop.external_products.create(external_id=f"mapped {long}{number}", hold_hours=number)
        for product in merchant.products.order_by("pk")[:3]:
            external.mappings.create(product=product, multiplier=1000)


def shop_urls(order):
    shop, other = order.merchant.connections.order_by("pk")[:2]
    event = shop.events.filter(cause=Cause.NO_ADDRESS).earliest("pk")
    return [
        reverse("shops"),
        reverse("shop-kinds"),
        *(reverse("shop-connect", args=[kind]) for kind in KINDS),
        *(reverse("shop", args=[row.pk]) for row in order.merchant.connections.order_by("pk")),
        reverse("shop", args=[shop.pk]) + "?state=parked&cause=address",
        *(reverse("shop-start", args=[row.pk]) for row in (shop, other)),
        reverse("shop-change", args=[shop.pk]),
        reverse("shop-secret", args=[shop.pk]),
        reverse("shop-remove", args=[shop.pk]),
        reverse("shop-sample", args=[shop.pk]),
        reverse("shop-products", args=[shop.pk]),
        reverse("shop-products", args=[shop.pk]) + "?show=mapped",
        reverse("shop-product-add", args=[shop.pk]),
        reverse("shop-product", args=[shop.pk, shop.external_products.mapped().earliest("pk").pk]),
        reverse("shop-event", args=[shop.pk, shop.events.earliest("pk").pk]),
        reverse("shop-event-address", args=[shop.pk, event.pk]),
        reverse("order", args=["B9"]),
    ]


def make_api_keys(merchant):
    """A key in each state, and one with as many networks and as long a name as possible."""
    now, networks = timezone.now(), [f"2001:db8:{number:x}::/48" for number in range(100)]
    olga = "Olga Owner (olga@northlight.example)"
    make_key = partial(ApiKey.objects.create_key, merchant=merchant, scopes=ApiKey.Scope.values, created_by=olga)
    make_key(name="Shop " * 20, allowed_networks=networks)
    make_key(name="Soon", expires_at=now + timedelta(days=3), last_used_at=now)
    make_key(name="Expired", expires_at=now)
    make_key(name="Revoked", revoked_at=now, revoked_by=olga)


def make_licensing(merchant, code):
    """A product with a module of each model, and a licensee with more licenses and history than a page shows."""
    long = "long" * 40
    product = licensing.LicensingProduct.objects.create(
        merchant=merchant, name=f"Photo Pro {long}", description=long, properties={f"name{long}": f"value{long}"}
    )
    for model in licensing.LicensingModel.values:
        module = product.modules.create(
            merchant=merchant, name=f"{model} {long[:60]}", licensing_model=model, max_checkout_validity=3600
        )
        for number in range(3):
            module.templates.create(
                merchant=merchant,
                name=f"Template {number}",
                license_type="QUANTITY",
                quantity=10_000_000,
                price=99_999,
                currency="EUR",
            )
    licensees = [
        create_licensee(product, actor="test", name=f"{long[:60]} {number}", number=f"{long[:90]}{number}")
        for number in range(30)
    ]
    licensees.append(create_licensee(product, actor="test", number=code.code, marked_for_transfer=True))
    code.source = "netlicensing"
    code.save(update_fields=["source"])
    for target, source in pairwise(licensees[-12:]):
        for template in licensing.LicenseTemplate.objects.all():
            license = create_license(target, template, actor=f"API key {long[:60]}")
        licensing.Transaction.record(target, "AUTO_LICENSES_TRANSFER", [license], actor="Max", source_licensee=source)
        target.events.create(kind="reveal", happened_by="Max (max@northlight.example)")
    licensing.LicenseeAlias.objects.create(merchant=merchant, licensee=target, text=f"ALIAS-{long[:80]}")
    licensing.VendorLogin.objects.create_login(merchant, long[:60], created_by="Max (max@northlight.example)")
    for role in licensing.Role.values:
        key = {"token_type": "APIKEY", "api_key_role": role, "name": long[:90]}
        licensing.Token.objects.create(merchant=merchant, licensee=target, **key)


def make_stock(merchant, pay, make_product):
    """A pool with a page of available keys, a page of issued keys and a history, and a pool that orders wait for."""
    busy = LicensePool.objects.get(fulfillment_methods__product__name="Photo Pro")
    stock(busy, 40)
    pay(merchant.products.get(name="Photo Pro"), quantity=30)
    LicensePool.objects.filter(pk=busy.pk).update(threshold=5, reserve=3)
    waiting = make_product(keys=0, pool=LicensePool.objects.create(merchant=merchant, name="Never filled"))
    FulfillmentMethod.objects.create(product=waiting, source="manual", position=2)
    for _ in range(12):
        pay(waiting)


def make_uploads(merchant):
    """An upload by link with every kind of skipped line, and setup requests in every state."""
    link = UploadLink.objects.create_for(merchant.pools.first())
    begin(link.pool, [b"A-1\nA-1\n\n\0\n" * 30], actor="link", link=link)
    owner = merchant.members.get(role="owner").user
    product = {"sku": "PHOTO-" + "X" * 50, "name": "Photo Pro"}
    for status in SetupRequest.Status.values:
        content = [b"ABCDEFGH\0\n"] if status == "open" else [b"A-1\nA-1\n\0\n"]
        request = submit(
            merchant, content, actor=owner, products=[product] * 3, pool_name="Photo Pro", comment="Please hurry."
        )
        SetupRequest.objects.filter(pk=request.pk).update(status=status)


def make_endpoints(merchant):
    """Endpoints in every state. The log of the first fills more than a page."""
    long_ago = timezone.now() - timedelta(days=1)
    secret = WebhookEndpoint.make_secret()
    states: list[dict] = [
        {"description": "Shop", "failing_since": long_ago, "previous_secret": "x", "rotated_at": timezone.now()},
        {"disabled_at": long_ago, "disabled_reason": "The endpoint answered 410 Gone."},
        {"disabled_at": long_ago},
        {},
    ]
    for number, state in enumerate(states):
        url = f"https://shop-{number}.analytical-engines.example/keywell/webhooks/{'long' * 20}"
        endpoint = merchant.webhook_endpoints.create(url=url, events=WebhookEvent.values, secret=secret, **state)
        if number < 2:
            make_log(endpoint, messages=30 if number == 0 else 1)


def make_services(merchant, order):
    """Web services in every state. The first has failed items and a log of more than a page."""
    long_ago = timezone.now() - timedelta(days=1)
    states: list[dict] = [
        {"paused_at": long_ago, "failing_since": long_ago, "probe_at": long_ago, "for_all_products": True},
        {"failing_since": long_ago},
        {},
    ]
    for number, state in enumerate(states):
        url = f"https://keys-{number}.analytical-engines.example/{'long' * 20}"
        name = f"Generator {number}"
        add_defaults(merchant.web_services.create(name=name, url=url, secret="whsec_", path="$.keys[*]", **state))
    service = merchant.web_services.get(name="Generator 0")
    service.parameters.create(position=5, parameter="Key_first_renew", name="first")
    service.parameters.create(position=6, name="token", constant="x", is_secret=True)
    item = order.items.get(product__fulfillment_methods__source="manual")
    Fulfillment.objects.filter(item=item).update(status="failed", due_at=None)
    for number in range(30):
        OutgoingRequest.objects.create(
            merchant=merchant,
            upstream=service,
            item=item,
            unit=1,
            method="POST",
            url=service.url,
            attempt=number,
            outcome=OutgoingRequest.Outcome.values[number % 3],
            status_code=503,
            sent="Order=A1&" * 30,
            answer="<html>" * 300,
            error="The service answered 503.",
            milliseconds=1234,
        )


def make_account(merchant, order):
    """A failing licensing account with packages that products use, and a log of more than a page."""
    long_ago = timezone.now() - timedelta(days=1)
    address = f"https://licenses.analytical-engines.example/{'long' * 20}"
    account = merchant.licensing_accounts.create(
        name="Vendor", address=address, api_key="x", failing_since=long_ago, paused_at=long_ago, probe_at=long_ago
    )
    merchant.licensing_accounts.create(name="Own", api_key="x", failing_since=long_ago)
    for number in range(10):
        package = merchant.license_packages.create(account=account, name=f"Package {number}", product_number="P-1")
        for position in range(5):
            package.templates.create(position=position, number=f"E{'LONG' * 10}{position}", quantity=3)
        product = merchant.products.all()[number]
        add_source(product, "netlicensing", package)
    item = order.items.get(product__fulfillment_methods__source="manual")
    for number in range(30):
        account.outgoing_requests.create(
            merchant=merchant,
            item=item,
            unit=1,
            method="POST",
            url=f"{address}/licensee/••••",
            attempt=number,
            outcome=OutgoingRequest.Outcome.values[number % 3],
            status_code=503,
            sent="productNumber=P-1&" * 30,
            answer="<html>" * 300,
            error="The service answered 503.",
            milliseconds=1234,
        )
    Deactivation.objects.create(item=order.items.earliest("pk"), reason="The service answered 503.")


def make_service_with_everything(merchant):
    """A web service that gets every parameter, under long names, and has a login."""
    service = merchant.web_services.create(
        name="Everything",
        url=f"https://licenses.analytical-engines.example/{'long' * 30}",
        secret=WebService.make_secret(),
        login="basic",
        username="keywell",
        password="x",
    )
    for position, parameter in enumerate(CATALOG):
        service.parameters.create(position=position, parameter=parameter, name=f"{parameter}_{'long' * 8}")


def make_imports(merchant):
    """A batch, an undone batch, and imports: with warnings, rejected, a table, and in progress."""
    pool = LicensePool.objects.create(merchant=merchant, name="Photo Pro of the second edition")
    keys = "".join(f"PRO-{number:04}-ÄÖÜ\n" for number in range(300))
    confirm(begin(pool, [keys.encode()], actor="Max", file_name="first.txt", note="x" * 200), actor="Max")
    undo(pool.batches.get(), actor="Max")
    confirm(begin(pool, [keys.encode()], actor="Max", file_name=f"{'long' * 50}.txt"), actor="Max")
    odd = (
        "".join(f"{kind}{number}\n" for number in range(150) for kind in ("=1+", "B\0AD", "")) + keys[:300] + keys[:15]
    )
    begin(pool, [f"{odd}{'LONG' * 100}\n".encode("utf-16")], actor="Max", file_name="odd.txt")
    begin(pool, [b"%PDF-1.7"], actor="Max", file_name="keys.pdf")
    begin(pool, ["Käufer;Key\nAda;AAAA-1\n".encode()], actor="Max", file_name="keys.csv")
    under_way = begin(pool, [b"AAAA"], actor="Max")
    KeyImport.objects.filter(pk=under_way.pk).update(status="importing")


def make_log(endpoint, messages):
    for number in range(messages):
        message = WebhookMessage.objects.create(
            endpoint=endpoint,
            event="order.paid",
            event_id=WebhookMessage.make_event_id(),
            status=WebhookMessage.Status.values[number % 3],
            reason="The endpoint answered 500.",
            attempts=7,
        )
        for attempt in range(1, 8):
            OutgoingRequest.objects.create(
                merchant=endpoint.merchant,
                request_id=message.request_id,
                method="POST",
                url=endpoint.url,
                attempt=attempt,
                status_code=500,
                answer="<html>" * 300,
                milliseconds=1234,
            )


@pytest.fixture
def staff(db):
    return User.objects.create_superuser("stella@keywell.example", "correct horse")


def stock_urls(order):
    """URLs of a pool that sells, a pool that orders wait for, and a product with several sources."""
    busy = LicensePool.objects.get(name__startswith="Pool of", fulfillment_methods__product__name="Photo Pro")
    empty = LicensePool.objects.get(name="Never filled")
    issued = busy.keys.issued().earliest("pk")
    return [
        reverse("home"),
        reverse("pools"),
        reverse("pool-add"),
        reverse("pool", args=[busy.pk]) + "?days=90",
        reverse("pool", args=[empty.pk]),
        reverse("pool-settings", args=[busy.pk]),
        reverse("pool-keys", args=[busy.pk]),
        reverse("pool-keys", args=[busy.pk]) + f"?state=issued&batch={issued.batch_id}",
        reverse("pool-withdraw", args=[busy.pk, busy.keys.available().earliest("pk").pk]),
        reverse("products"),
        reverse("product", args=[empty.fulfillment_methods.get().product_id]),
        reverse("product-change", args=[empty.fulfillment_methods.get().product_id]),
    ]


def page_urls(order):
    item = order.items.order_by("pk").last()
    code = ActivationCode.objects.filter(item__order=order).earliest("pk")
    return [
        reverse("orders"),
        reverse("orders") + "?q=ada&status=paid&reported_from=2020-01-01",
        reverse("orders") + "?q=nobody&paid_from=yesterday",
        reverse("attention"),
        reverse("refused-reports"),
        *stock_urls(order),
        reverse("webhooks"),
        reverse("webhook-add"),
        *(reverse("webhook", args=[endpoint.pk]) for endpoint in order.merchant.webhook_endpoints.order_by("pk")[:2]),
        *service_urls(order),
        reverse("web-service-console", args=[order.merchant.web_services.get(name="Everything").pk]),
        *account_urls(order),
        *import_urls(order),
        *shop_urls(order),
        *licensing_urls(),
        reverse("team"),
        reverse("product-add"),
        reverse("api-keys"),
        reverse("api-key-add"),
        reverse("api-key-change", args=[order.merchant.api_keys.earliest("pk").pk]),
        reverse("api-key-revoke", args=[order.merchant.api_keys.earliest("pk").pk]),
        reverse("checkout-pages"),
        reverse("checkout-page-add"),
        reverse("checkout-page-change", args=[order.merchant.checkout_pages.earliest("pk").pk]),
        reverse("emails"),
        reverse("emails") + "?product=photo&page=2",
        reverse("emails") + "?own=on&language=es",
        reverse("email-sender"),
        reverse("mail-server"),
        reverse("email-text", args=["all", "de"]),
        reverse("email-reset", args=["all", "de"]),
        reverse("email-versions", args=["all", "de"]),
        reverse("email-restore", args=["all", "de", "default"]),
        reverse("test-order"),
        reverse("test-order-result", args=[Order.objects.get(merchant__live=order.merchant).number]),
        reverse("setup"),
        reverse("setup-add"),
        reverse("setup-withdraw", args=[order.merchant.setup_requests.first().pk]),
        reverse("order", args=["A1"]),
        reverse("order-address", args=["A1"]),
        reverse("order-fix-address", args=["A1"]),
        reverse("order-resend-all", args=["A1"]),
        reverse("order-email", args=["A1", order.deliveries.earliest("pk").pk]),
        reverse("order", args=["A2"]),
        reverse("order-refund", args=["A1"]),
        reverse("order-resend", args=["A1", code.pk]),
        reverse("order-codes", args=["A1", item.pk]),
        reverse("order-revoke-link", args=["A1"]),
        f"/o/{order.link_token}/",
        "/o/unknown/",
        "/lost/northlight/",
        f"/upload/{UploadLink.objects.get(imports__isnull=False).token}/",
        f"/uploaded/{sign_import(KeyImport.objects.get(link__isnull=False))}/",
        "/upload/unknown/",
        "/nowhere/",
    ]


def service_urls(order):
    service = order.merchant.web_services.earliest("pk")
    return [
        reverse("web-services"),
        reverse("web-service-add"),
        reverse("web-service", args=[service.pk]),
        reverse("web-service", args=[service.pk]) + "?show=tests",
        reverse("web-service-parameters", args=[service.pk]),
        reverse("web-service-request", args=[service.pk, service.outgoing_requests.earliest("pk").pk]),
        reverse("web-service-retry-failed", args=[service.pk]),
    ]


def licensing_urls():
    product = licensing.LicensingProduct.objects.get()
    licensee = licensing.LicenseeAlias.objects.get().licensee
    template = licensing.LicenseTemplate.objects.earliest("pk")
    return [
        reverse("licensing"),
        reverse("licensing") + "?state=marked",
        reverse("licensee-add"),
        reverse("licensee", args=[licensee.pk]),
        reverse("licensee-transfer", args=[licensee.pk]),
        reverse("license-change", args=[licensee.pk, licensee.licenses.earliest("pk").pk]),
        reverse("licensed-products"),
        reverse("licensed-product", args=[product.pk]),
        reverse("licensed-product-remove", args=[product.pk]),
        reverse("template-change", args=[template.pk]),
        reverse("licensing-access"),
        reverse("key-add"),
    ]


def account_urls(order):
    account = order.merchant.licensing_accounts.get(name="Vendor")
    return [
        reverse("licensing-accounts"),
        reverse("licensing-account-add"),
        reverse("licensing-account-change", args=[account.pk]),
        reverse("licensing-account", args=[account.pk]),
        reverse("licensing-account-request", args=[account.pk, account.outgoing_requests.earliest("pk").pk]),
        reverse("license-package", args=[account.pk, account.packages.earliest("pk").pk]),
        reverse("product", args=[account.packages.earliest("pk").fulfillment_methods.get().product_id]),
    ]


def import_urls(order):
    pool = LicensePool.objects.get(merchant=order.merchant, name="Photo Pro of the second edition")
    return [
        reverse("pool-import", args=[pool.pk]),
        reverse("pool-batches", args=[pool.pk]),
        reverse("batch-withdraw", args=[pool.pk, pool.batches.latest("pk").pk]),
        *(reverse("import", args=[pool.pk, key_import.pk]) for key_import in pool.imports.order_by("pk")),
    ]


def desk_urls(order):
    """Pages of the admin that Django doesn't have."""
    code = ActivationCode.objects.filter(item__order=order).earliest("pk")
    wanted = order.merchant.setup_requests.filter(status="open").earliest("pk")
    return [
        reverse("admin:index"),
        reverse("admin:search"),
        reverse("admin:status"),
        reverse("admin:orders_order_change", args=[order.pk]),
        reverse("admin:orders_order_change-resend", args=[order.pk, code.pk]),
        reverse("admin:orders_order_customer"),
        reverse("admin:fulfillment_setuprequest_change", args=[wanted.pk]),
        reverse("admin:fulfillment_setuprequest_apply", args=[wanted.pk]),
        reverse("admin:pools_licensepool_keys", args=[order.merchant.pools.earliest("pk").pk]),
        reverse("admin:merchants_apikey_revoke", args=[order.merchant.api_keys.earliest("pk").pk]),
        reverse("admin:licensing_vendorlogin_revoke", args=[order.merchant.vendor_logins.earliest("pk").pk]),
        reverse("mailbox"),
        reverse("mailbox-email", args=[newest(1)[0].name]),
        reverse("mailbox-html", args=[newest(1)[0].name]),
    ]


def admin_urls(order, staff):
    """Every list, and the pages of a row of each: to add, change and delete it, and its history."""
    request = RequestFactory().get("/admin/")
    request.user = staff
    urls = [reverse("admin:password_change"), reverse("admin:auth_user_password_change", args=[staff.pk])]
    for model, model_admin in admin.site._registry.items():
        prefix = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        urls.append(reverse(f"{prefix}_changelist"))
        urls += [reverse(f"{prefix}_add")] if model_admin.has_add_permission(request) else []
        row = model_admin.get_queryset(request).order_by("pk").first()
        if row is None:
            continue
        names = ["change", "history"] + (["delete"] if model_admin.has_delete_permission(request, row) else [])
        urls += [reverse(f"{prefix}_{name}", args=[row.pk]) for name in names]
    return urls


def enter(browser, live_server, client, user):
    """Sign in the browser with the session of a test client."""
    client.force_login(user)
    browser.get(f"{live_server}/healthz")
    browser.add_cookie({"name": "sessionid", "value": client.cookies["sessionid"].value})


def test_all_pages_are_accessible(chrome, live_server, client, order, merchant, staff):
    """Checks both widths and both color schemes, including dialogs and the admin's order page."""
    browser = chrome
    browser.delete_all_cookies()
    enter(browser, live_server, client, merchant.members.get(role="owner").user)
    for address in page_urls(order):
        look_in(browser, "light")
        browser.get(f"{live_server}{address}")
        check_at_both_widths(browser)
        look_in(browser, "dark")
        check(browser, ["color-contrast"])
    look_in(browser, "light")
    for label in ("Resend", "Fix address and resend", "Refund…", "Enter codes"):
        browser.get(f"{live_server}{reverse('order', args=['A1'])}")
        open_dialog(browser, label)
        check_at_both_widths(browser)


def test_all_pages_of_the_admin_are_accessible(chrome, live_server, client, order, staff):
    browser = chrome
    browser.delete_all_cookies()
    enter(browser, live_server, client, staff)
    for address in desk_urls(order):
        for scheme in ("light", "dark"):
            look_in(browser, scheme)
            browser.get(f"{live_server}{address}")
            check_at_both_widths(browser)
    for address in admin_urls(order, staff):
        look_in(browser, "light")
        browser.get(f"{live_server}{address}")
        check_at_both_widths(browser)
        look_in(browser, "dark")
        check(browser, ["color-contrast"])
    look_in(browser, "light")


def check_at_both_widths(browser):
    browser.set_window_size(1280, 900)
    check(browser)
    browser.set_window_size(390, 900)
    check(browser)
    browser.set_window_size(320, 900)  # also 1280 pixels at 400 %, as in WCAG 1.4.10
    check_width(browser)


def open_dialog(browser, label):
    link = browser.find_element(By.LINK_TEXT, label)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", link)
    link.click()
    WebDriverWait(browser, TIMEOUT).until(lambda browser: browser.find_element(By.CSS_SELECTOR, "dialog[open] form"))


def test_all_pages_are_small_and_run_few_queries(client, order, merchant, staff):
    client.force_login(merchant.members.get(role="owner").user)
    weights = {address: weigh(client, address) for address in page_urls(order)}
    Merchant.objects.update(second_factor_required=True)
    Authenticator.objects.create(user=merchant.members.get(role="owner").user, type="totp", data={})
    queries = {address: count_queries(client, address) for address in page_urls(order)}
    client.force_login(staff)
    staff_urls = [*desk_urls(order), *admin_urls(order, staff)]
    weights |= {address: weigh(client, address) for address in staff_urls}
    queries |= {address: count_queries(client, address) for address in staff_urls}

    assert {address: weight for address, weight in weights.items() if weight > MAX_BYTES} == {}
    assert {address: count for address, count in queries.items() if count > MAX_QUERIES} == {}


def weigh(client, address):
    """The number of bytes that a browser loads for a page, including its static files."""
    page = client.get(address).content.decode()
    files = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', page))
    return len(page.encode()) + sum(weigh_file(client, file) for file in files)


@cache
def weigh_file(client, file):
    return len(b"".join(client.get(file, headers={"Accept-Encoding": "gzip"})))


def count_queries(client, address):
    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        client.get(address)
    return sum(query["sql"] not in {"BEGIN", "COMMIT"} for query in queries)
