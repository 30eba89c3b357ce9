"""What support staff change of web services."""

import pytest
from django.urls import reverse

from fulfillment.sources.web_service.models import RequestParameter, WebService
from merchants.models import User
from portal.web_services.tests.conftest import FORM, PUBLIC, said, sent


@pytest.fixture
def staff(client, db):
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    return client


def admins_form(service, *parameters):
    """What the admin's page of a service posts, with these parameters for those it has."""
    data = FORM | {"parameters-TOTAL_FORMS": len(parameters), "parameters-INITIAL_FORMS": 0}
    for number, name in enumerate(parameters):
        data |= {f"parameters-{number}-{field}": name for field in ("parameter", "name")}
        data |= {f"parameters-{number}-position": number + 7, f"parameters-{number}-service": service.pk}
    return data


def admins(service):
    return reverse("admin:web_service_webservice_change", args=[service.pk])


def test_staff_add_what_a_manager_cannot(staff, service):
    assert "Key_first_renew" in said(staff.get(admins(service)))

    response = staff.post(admins(service), admins_form(service, "Key_first_renew", "referer7"), follow=True)

    assert "was changed successfully" in said(response)
    assert sent(service)["Key_first_renew"] == "Key_first_renew" and sent(service)["referer7"] == "referer7"


def test_staff_take_it_away_again(staff, service):
    row = RequestParameter.objects.create(service=service, parameter="referer7", name="referer7", position=5)
    data = admins_form(service, "referer7") | {"parameters-INITIAL_FORMS": 1, "parameters-0-id": row.pk}

    staff.post(admins(service), data | {"parameters-0-DELETE": "on"})

    assert "referer7" not in sent(service)


@pytest.mark.parametrize(
    ("parameter", "name", "why"),
    [
        ("Key_first_renew", "shop", "Another parameter has this name."),
        ("Order", "no", "This parameter is already sent."),
    ],
)
def test_staff_are_told_what_is_taken(staff, service, parameter, name, why):
    service.parameters.create(position=5, name="shop", constant="12")
    order = service.parameters.get(parameter="Order")
    data = admins_form(service, "Order", parameter) | {"parameters-INITIAL_FORMS": 1, "parameters-0-id": order.pk}

    assert why in said(staff.post(admins(service), data | {"parameters-1-name": name}))


def test_staff_swap_two_names(staff, service):
    one, other = service.parameters.filter(parameter__in=["Order", "ID"])
    data = admins_form(service, "Order", "ID") | {"parameters-INITIAL_FORMS": 2}
    data |= {"parameters-0-id": one.pk, "parameters-1-id": other.pk}

    staff.post(admins(service), data | {"parameters-0-name": "ID", "parameters-1-name": "Order"})

    assert (sent(service)["ID"], sent(service)["Order"]) == ("Order", "ID")


def test_staff_see_no_secret(staff, guarded):
    RequestParameter.objects.create(service=guarded, name="token", constant="s3cr3t", is_secret=True, position=5)

    text = said(staff.get(admins(guarded)))

    assert guarded.secret not in text and "sésame" not in text and "s3cr3t" not in text


@pytest.mark.parametrize(
    ("url", "why"), [("https://127.0.0.1/", "isn’t on the public"), (PUBLIC + "#x", "Servers never receive")]
)
def test_staff_are_refused_as_merchants_are(staff, service, url, why, settings):
    settings.CALLOUT_NETWORKS = []

    assert why in said(staff.post(admins(service), admins_form(service) | {"url": url}))
    service.refresh_from_db()
    assert service.url == PUBLIC


def test_staff_add_a_service_for_a_merchant(staff, merchant, outsider):
    form = admins_form(WebService()) | {"merchant": merchant.pk}
    add = reverse("admin:web_service_webservice_add")
    assert "This field is required" in said(staff.post(add, form | {"merchant": ""}))

    staff.post(add, form)

    service = merchant.web_services.get()
    assert service.secret.startswith("whsec_") and "Order" in sent(service)
