"""The merchant's pages for licensing accounts and license packages."""

from ipaddress import ip_network

import pytest
from django.urls import reverse

from fulfillment.models import FulfillmentMethod
from fulfillment.product_sources import add_source
from fulfillment.sources.netlicensing.models import LicensePackage, LicensingAccount
from fulfillment.sources.netlicensing.tests.licensing_server import Proxy, Service, envelope
from licensing.models import Token
from merchants.models import Member, User
from orders.models import ActivationCode


@pytest.fixture
def manager(make_member, client):
    client.force_login(make_member(Member.Role.MANAGER).user)
    return client


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def proxy(service, settings):
    settings.CALLOUT_NETWORKS = [ip_network("127.0.0.0/8")]
    proxy = Proxy(service)
    yield proxy
    proxy.stop()


@pytest.fixture
def account(merchant, proxy):
    return merchant.licensing_accounts.create(name="Vendor", address=proxy.url, api_key="the-key")


ACCOUNT_FORM = {"name": "Vendor", "place": "other", "api_key": "the-key", "timeout": "5"}
PACKAGE_FORM = {"name": "Pro", "product_number": "P-1", "start_date": "now", "template_0": "T-SUB", "quantity_0": "2"}


def post(client, view, *args, **data):
    return client.post(reverse(view, args=args), data, follow=True)


def test_an_account_at_our_own_service_gets_its_own_key(manager, merchant):
    post(manager, "licensing-account-add", name="Own", place="own", timeout="10", address="https://elsewhere.example")

    account = LicensingAccount.objects.get()
    key = Token.objects.get()
    assert (account.address, account.api_key) == ("", key.number)
    assert (key.merchant, key.api_key_role, key.token_type) == (merchant, "ROLE_APIKEY_OPERATION", "APIKEY")

    post(manager, "licensing-account-change", account.pk, name="Ours", place="own", timeout="10")
    assert Token.objects.get() == key and LicensingAccount.objects.get().api_key == key.number

    # Somebody revoked it.
    Token.objects.update(active=False)
    post(manager, "licensing-account-change", account.pk, name="Ours", place="own", timeout="10")
    assert LicensingAccount.objects.get().api_key == Token.objects.live().get().number

    post(manager, "licensing-account-delete", account.pk)
    assert not LicensingAccount.objects.exists() and not Token.objects.live().exists()


def test_revoking_the_key_of_an_account_shows_a_warning(client, merchant):
    client.force_login(merchant.members.get(role="owner").user)
    post(client, "licensing-account-add", name="Own", place="own", timeout="10")
    other = Token.objects.create(merchant=merchant, token_type="APIKEY", api_key_role="ROLE_APIKEY_ADMIN")  # noqa: S106

    for key, is_warned in ((Token.objects.exclude(pk=other.pk).get(), True), (other, False)):
        text = client.get(reverse("key-revoke", args=[key.pk])).content.decode()
        assert ("Orders that use the account “Own” will fail until you save that account again." in text) == is_warned


@pytest.mark.parametrize("view", ["license-package", "license-package-delete", "licensing-account-request"])
def test_packages_and_requests_of_other_accounts_are_not_found(manager, merchant, account, outsider, view):
    own = merchant.licensing_accounts.create(name="Own")
    theirs = outsider.licensing_accounts.create(name="Theirs")
    for at in (account, theirs):
        package = at.merchant.license_packages.create(account=at, name="Pro", product_number="P-1")
        outgoing_request = at.outgoing_requests.create(
            merchant=at.merchant, method="GET", url="https://licensing.example"
        )
        other = outgoing_request if view == "licensing-account-request" else package
        assert manager.get(reverse(view, args=[own.pk, other.pk])).status_code == 404


def test_an_account_elsewhere_has_a_url_and_a_key_that_is_never_shown(manager, proxy):
    page = post(manager, "licensing-account-add", **ACCOUNT_FORM, address=proxy.url + "/")

    account = LicensingAccount.objects.get()
    assert (account.address, account.api_key) == (proxy.url, "the-key")
    edit = manager.get(reverse("licensing-account-change", args=[account.pk]))
    assert "the-key" not in page.content.decode() + edit.content.decode()


def test_an_empty_key_field_keeps_the_saved_key_for_the_same_server_only(manager, account, proxy):
    form = ACCOUNT_FORM | {"api_key": ""}
    post(manager, "licensing-account-change", account.pk, **form | {"name": "New"}, address=proxy.url)
    account.refresh_from_db()
    assert (account.name, account.api_key) == ("New", "the-key")

    page = post(manager, "licensing-account-change", account.pk, **form, address="https://93.184.216.34/core/v2/rest")

    assert "Enter the key for this server." in page.content.decode()
    account.refresh_from_db()
    assert account.address == proxy.url


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "Enter the URL of the service."),
        ("http://93.184.216.34/", "must start with https://"),
        ("https://10.1.2.3/", "isn’t on the public internet"),
        ("https://93.184.216.34/rest?x=1", "Remove the ?"),
    ],
)
def test_it_rejects_an_invalid_url(manager, address, message):
    page = post(manager, "licensing-account-add", **ACCOUNT_FORM, address=address)

    assert message in page.content.decode()
    assert not LicensingAccount.objects.exists()


def break_api_key(account):
    account.api_key = "wrong"
    account.save()


def test_it_tests_the_connection(manager, account, proxy, service, monkeypatch):
    templates = [{"number": "T-SUB"}, {"number": "T-PPU"}]
    monkeypatch.setattr(service, "page", lambda kind, query: envelope("LicenseTemplate", templates))
    assert "found 2 license templates" in post(manager, "licensing-account-test", account.pk).content.decode()

    break_api_key(account)
    assert (
        "The service rejected the API key (403)"
        in post(manager, "licensing-account-test", account.pk).content.decode()
    )

    proxy.forward = lambda *request: (200, {}, b"<html>")
    assert "not in the NetLicensing format" in post(manager, "licensing-account-test", account.pk).content.decode()

    account.refresh_from_db()
    assert account.state == "healthy"


def test_a_package_has_ordered_templates_and_a_preview(manager, merchant, account):
    page = post(
        manager, "license-package-add", account.pk, **PACKAGE_FORM, template_1="", template_2="T-PPU", quantity_2="3"
    )

    package = LicensePackage.objects.get()
    assert [str(template) for template in package.templates.all()] == ["2 × T-SUB", "3 × T-PPU"]
    assert (package.merchant, package.start_date) == (merchant, "now")
    text = page.content.decode()
    assert "3 licensees, each with 2 × T-SUB, 3 × T-PPU" in text and "1 licensee with 6 × T-SUB, 9 × T-PPU" in text

    post(manager, "license-package", account.pk, package.pk, **PACKAGE_FORM | {"template_0": "T-FEATURE"})
    assert [str(template) for template in package.templates.all()] == ["2 × T-FEATURE"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template_0": ""}, "Enter at least one template."),
        ({"template_0": "T/1"}, "A number can’t contain spaces"),
        ({"product_number": "P 1"}, "A number can’t contain spaces"),
        ({"quantity_0": "101"}, "less than or equal to 100"),
    ],
)
def test_it_rejects_an_invalid_package(manager, account, change, message):
    page = post(manager, "license-package-add", account.pk, **PACKAGE_FORM | change)

    assert message in page.content.decode()
    assert not LicensePackage.objects.exists()


def test_a_package_can_be_added_to_a_product_as_a_source(manager, merchant, account, outsider, make_product):
    package = merchant.license_packages.create(account=account, name="Pro", product_number="P-1")
    theirs = outsider.license_packages.create(
        account=outsider.licensing_accounts.create(name="Theirs", api_key="x"), name="Theirs", product_number="P-1"
    )
    product = make_product(source=None)

    page = post(manager, "product-add-source", product.pk, source=f"netlicensing {theirs.pk}")
    assert "Theirs" not in page.content.decode() and not FulfillmentMethod.objects.exists()
    page = post(manager, "product-add-source", product.pk, source=f"netlicensing {package.pk}")

    assert FulfillmentMethod.objects.get().kind.place == package
    assert "NetLicensing “Pro”" in page.content.decode()
    assert "is a source of" in post(manager, "license-package-delete", account.pk, package.pk).content.decode()


def test_all_failed_items_can_be_retried_once_the_account_is_fixed(
    manager, merchant, account, make_product, pay, work, service
):
    package = merchant.license_packages.create(account=account, name="Pro", product_number="P-1")
    package.templates.create(position=1, number="T-SUB")
    product = make_product(source=None)
    add_source(product, "netlicensing", package)
    break_api_key(account)
    pay(product)
    pay(product)
    work()
    page = manager.get(reverse("licensing-account", args=[account.pk])).content.decode()
    assert "2 failed items" in page and "The service rejected the API key (403)" in page
    assert "Vendor" in manager.get(reverse("home")).content.decode()

    post(manager, "licensing-account-change", account.pk, **ACCOUNT_FORM, address=account.address)
    page = post(manager, "licensing-account-retry-failed", account.pk).content.decode()
    work()

    assert "2 items will be retried" in page
    assert ActivationCode.objects.count() == 2 == len(service.licensees)
    assert "Vendor" not in manager.get(reverse("home")).content.decode()


# Support staff


def test_staff_can_add_an_account_and_a_package_for_a_merchant(client, merchant):
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    account = {"merchant": merchant.pk, "name": "Own", "place": "own", "timeout": "10"}
    post(client, "admin:netlicensing_licensingaccount_add", **account)
    created = LicensingAccount.objects.get()
    assert (created.merchant, created.api_key) == (merchant, Token.objects.get().number)

    page = post(client, "admin:netlicensing_licensingaccount_change", created.pk, **account | {"name": "Ours"})
    created.refresh_from_db()
    assert (created.name, created.api_key) == ("Ours", Token.objects.get().number)
    assert created.api_key not in page.content.decode()

    rows = {"TOTAL_FORMS": 1, "INITIAL_FORMS": 0, "0-position": 1, "0-number": "T-SUB", "0-quantity": 2}
    package = {"merchant": merchant.pk, "account": created.pk, "name": "Pro", "product_number": "P-1"}
    rows = {f"templates-{name}": value for name, value in rows.items()}
    post(client, "admin:netlicensing_licensepackage_add", **package, **rows, start_date="none")
    assert str(LicensePackage.objects.get().templates.get()) == "2 × T-SUB"


def test_staff_cannot_use_another_merchants_account_in_a_package(client, merchant, outsider):
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    theirs = outsider.licensing_accounts.create(name="Theirs", api_key="x")

    rows = {"templates-TOTAL_FORMS": 0, "templates-INITIAL_FORMS": 0}
    package = {"merchant": merchant.pk, "account": theirs.pk, "name": "Pro", "product_number": "P-1"}
    page = post(client, "admin:netlicensing_licensepackage_add", **package, **rows, start_date="none")

    assert "belongs to Outsider" in page.content.decode()
    assert not LicensePackage.objects.exists()


def test_an_account_and_its_key_are_deleted_together_or_not_at_all(manager, merchant, monkeypatch):
    post(manager, "licensing-account-add", name="Own", place="own", timeout="10")
    account = LicensingAccount.objects.get()

    def fail(*args):
        raise OSError("the database went away")

    with monkeypatch.context() as broken:
        broken.setattr(type(Token.objects.all()), "delete", fail)
        with pytest.raises(OSError):
            post(manager, "licensing-account-delete", account.pk)
    assert LicensingAccount.objects.exists() and Token.objects.exists()

    post(manager, "licensing-account-delete", account.pk)
    assert not LicensingAccount.objects.exists() and not Token.objects.exists()
