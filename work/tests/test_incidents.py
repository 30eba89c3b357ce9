"""An unexpected error leaves a reference that support staff can look up."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from work import incidents
from work.models import Incident

pytestmark = pytest.mark.django_db


def fail(message="LICENSE-KEY-7Q2M"):
    raise ZeroDivisionError(message)


def report_error(place="GET orders/", cause=fail):
    try:
        cause()
    except Exception as error:
        return incidents.report(error, place)


def test_it_records_where_an_error_was_raised_but_no_values(caplog):
    reference = report_error()

    row = Incident.objects.get(reference=reference)
    assert (row.error, row.place, row.times) == ("ZeroDivisionError", "GET orders/", 1)
    assert "in fail" in row.traceback and "7Q2M" not in row.traceback
    assert f"Reference {reference}: GET orders/" in caplog.text


def test_it_counts_the_same_fault_under_one_reference():
    assert report_error() == report_error(place="GET pools/")

    row = Incident.objects.get()
    assert (row.times, row.place) == (2, "GET pools/")


def test_a_different_fault_gets_a_different_reference():
    def fail_elsewhere():
        raise ZeroDivisionError

    assert report_error() != report_error(cause=fail_elsewhere)


def test_it_records_an_error_once_if_it_is_reported_at_several_levels():
    try:
        fail()
    except ZeroDivisionError as error:
        assert incidents.report(error, "inside") == incidents.report(error, "outside")

    assert Incident.objects.get().times == 1


def test_it_returns_a_reference_even_if_the_database_cant_record_it():
    with transaction.atomic():
        transaction.set_rollback(True)
        reference = report_error()

    assert len(reference) == 7 and not Incident.objects.exists()


def test_it_purges_old_incidents():
    report_error()
    Incident.objects.update(last_at=timezone.now() - incidents.INCIDENT_RETENTION - timedelta(minutes=1))

    incidents.purge_incidents()

    assert not Incident.objects.exists()


@pytest.mark.parametrize("path", ["/pools/", "/api/v1/pools/"])
def test_a_page_that_fails_shows_the_reference(path, monkeypatch, make_member, settings):
    client = Client(raise_request_exception=False)
    client.force_login(make_member("owner").user)
    monkeypatch.setattr("merchants.models.Merchant.objects.all", fail)
    for view in ("portal.access.get_member", "api.authentication.ApiKeyAuthentication.authenticate"):
        monkeypatch.setattr(view, lambda *args: fail())

    response = client.get(path)

    assert response.status_code == 500
    assert Incident.objects.get().reference in response.content.decode()


def test_support_staff_find_an_incident_by_its_reference(admin_client):
    reference = report_error()

    page = admin_client.get("/admin/work/incident/", {"q": reference.lower()}).content.decode()

    assert reference in page and "ZeroDivisionError" in page
