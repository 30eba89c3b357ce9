"""Reading the signed-in user, together with the memberships."""

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY
from django.db import connection
from django.test.utils import CaptureQueriesContext

from merchants.models import Member

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(make_member):
    return make_member(Member.Role.OWNER).user


def count_reads(client, table):
    with CaptureQueriesContext(connection) as queries:
        client.get("/")
    return sum(f' FROM "{table}"' in query["sql"] for query in queries)


def test_one_query_reads_the_user_and_the_memberships(client, owner):
    client.force_login(owner)

    assert (count_reads(client, "merchants_member"), count_reads(client, "merchants_user")) == (1, 0)


def test_a_user_without_memberships_is_read_once(client, django_user_model):
    client.force_login(django_user_model.objects.create_superuser("stella@keywell.example", "correct horse"))

    assert (count_reads(client, "merchants_member"), count_reads(client, "merchants_user")) == (1, 1)


def test_an_inactive_user_is_signed_out(client, owner):
    client.force_login(owner)
    owner.is_active = False
    owner.save()

    assert client.get("/accounts/language/").status_code == 302


def test_people_stay_signed_in_who_did_so_before_the_backend(client, owner):
    client.force_login(owner)
    session = client.session
    session[BACKEND_SESSION_KEY] = "allauth.account.auth_backends.AuthenticationBackend"
    session.save()

    assert client.get("/accounts/language/").status_code == 200
