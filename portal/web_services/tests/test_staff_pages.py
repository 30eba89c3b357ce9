"""Web services in the admin."""

import pytest
from django.urls import reverse

from fulfillment.sources.web_service.models import RequestParameter, WebService
from merchants.models import User
from portal.web_services.tests.conftest import FORM, PUBLIC, page_text, sent_parameters


@pytest.fixture
def staff(client, db):
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    return client


def admin_form(service, *parameters):
    """Form data of the admin's page of a service with these parameters."""
    data = FORM | {"parameters-TOTAL_FORMS": len(parameters), "parameters-INITIAL_FORMS": 0}
    for number, name in enumerate(parameters):
        data |= {f"parameters-{number}-{field}": name for field in ("parameter", "name")}
        data |= {f"parameters-{number}-position": number + 7, f"parameters-{number}-service": service.pk}
    return data


def admin_url(service):
    return reverse("admin:web_service_webservice_change", args=[service.pk])


def test_staff_can_add_parameters_that_managers_cant(staff, service):
    assert "Key_first_renew" in page_text(staff.get(admin_url(service)))

    response = staff.post(admin_url(service), admin_form(service, "Key_first_renew", "referer7"), follow=True)

    assert "was changed successfully" in page_text(response)
    assert (
        sent_parameters(service)["Key_first_renew"] == "Key_first_renew"
        and sent_parameters(service)["referer7"] == "referer7"
    )


def test_staff_can_remove_such_parameters(staff, service):
    row = RequestParameter.objects.create(service=service, parameter="referer7", name="referer7", position=5)
    data = admin_form(service, "referer7") | {"parameters-INITIAL_FORMS": 1, "parameters-0-id": row.pk}

    staff.post(admin_url(service), data | {"parameters-0-DELETE": "on"})

    assert "referer7" not in sent_parameters(service)


@pytest.mark.parametrize(
    ("parameter", "name", "error"),
    [
        ("Key_first_renew", "shop", "Another parameter has this name."),
        ("Order", "no", "This parameter is already sent."),
    ],
)
def test_staff_get_errors_about_duplicates(staff, service, parameter, name, error):
    service.parameters.create(position=5, name="shop", constant="12")
    order = service.parameters.get(parameter="Order")
    data = admin_form(service, "Order", parameter) | {"parameters-INITIAL_FORMS": 1, "parameters-0-id": order.pk}

    assert error in page_text(staff.post(admin_url(service), data | {"parameters-1-name": name}))


def test_staff_can_swap_two_names(staff, service):
    first, second = service.parameters.filter(parameter__in=["Order", "ID"])
    data = admin_form(service, "Order", "ID") | {"parameters-INITIAL_FORMS": 2}
    data |= {"parameters-0-id": first.pk, "parameters-1-id": second.pk}

    staff.post(admin_url(service), data | {"parameters-0-name": "ID", "parameters-1-name": "Order"})

    assert (sent_parameters(service)["ID"], sent_parameters(service)["Order"]) == ("Order", "ID")


def test_staff_dont_see_secrets(staff, guarded):
    RequestParameter.objects.create(service=guarded, name="token", constant="s3cr3t", is_secret=True, position=5)

    text = page_text(staff.get(admin_url(guarded)))

    assert guarded.secret not in text and "sésame" not in text and "s3cr3t" not in text


@pytest.mark.parametrize(
    ("url", "error"), [("https://127.0.0.1/", "isn’t on the public"), (PUBLIC + "#x", "Servers never receive")]
)
def test_staff_get_the_same_url_errors_as_merchants(staff, service, url, error, settings):
    settings.CALLOUT_NETWORKS = []

    assert error in page_text(staff.post(admin_url(service), admin_form(service) | {"url": url}))
    service.refresh_from_db()
    assert service.url == PUBLIC


def test_staff_can_add_a_service_for_a_merchant(staff, merchant, outsider):
    form = admin_form(WebService()) | {"merchant": merchant.pk}
    add = reverse("admin:web_service_webservice_add")
    assert "This field is required" in page_text(staff.post(add, form | {"merchant": ""}))

    staff.post(add, form)

    service = merchant.web_services.get()
    assert service.secret.startswith("whsec_") and "Order" in sent_parameters(service)
