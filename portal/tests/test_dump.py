"""A dump of the database gives no access without VAULT_KEYS and SECRET_KEY."""

import base64
import re
import zlib

import pytest
from allauth.account.forms import default_token_generator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import SECRET_SESSION_KEY, TOTP, generate_totp_secret
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils.http import int_to_base36

from fulfillment.tasks import purge_parameters
from licensing.models import Token, VendorLogin
from merchants import team
from merchants.models import ApiKey, Member
from orders.models import Order
from pools.models import UploadLink

COOKIE = settings.SESSION_COOKIE_NAME


def dump():
    """Every value in the database, and what can be decoded from it without a key."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT to_jsonb("{table}")::text FROM "{table}"')
            found += [row[0] for row in cursor]
        for field in [field for model in apps.get_models() for field in model._meta.concrete_fields]:
            if field.db_type(connection) == "bytea":
                cursor.execute(f"SELECT {field.column} FROM {field.model._meta.db_table}")
                found += [bytes(row[0]).decode("latin-1") for row in cursor if row[0] is not None]
    return "\n".join([*found, *(text for one in found for text in unpacked(one))])


def unpacked(text):
    """The content of base64 and zlib data, such as Django's own sessions."""
    for word in re.findall(r"[\w+/=-]{16,}", text):
        word = word.rstrip("=")
        try:
            raw = base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))
            yield raw.decode("latin-1")
            yield zlib.decompress(raw).decode("latin-1")
        except (ValueError, zlib.error):
            continue


def hashed_session_key(client):
    return client.session.hash_key(client.cookies[COOKIE].value)


@pytest.fixture
def owner(merchant):
    return merchant.members.get().user


def test_a_session_key_in_the_database_does_not_sign_in(client, owner):
    client.force_login(owner)
    key = client.cookies[COOKIE].value
    row = Session.objects.get()

    assert key not in dump()
    thief = Client()
    thief.cookies[COOKIE] = row.session_key
    assert thief.get(reverse("mfa_index")).status_code == 302
    assert client.get(reverse("mfa_index")).status_code == 200


def test_the_secret_of_an_app_during_setup_is_encrypted(client, owner):
    client.force_login(owner)
    set_up = reverse("mfa_activate_totp")
    client.post(reverse("account_reauthenticate"), {"password": "correct horse", "next": set_up}, follow=True)
    secret = client.session[SECRET_SESSION_KEY]

    assert len(secret) == 32 and secret not in dump()


def test_the_key_of_a_password_reset_is_encrypted(client, owner):
    key = default_token_generator.make_token(owner)
    client.get(reverse("account_reset_password_from_key", args=[int_to_base36(owner.pk), key]))

    assert key in client.session.values()
    assert key not in dump()


def test_session_data_cannot_be_moved_to_another_session(client, owner, make_member):
    client.force_login(owner)
    other = Client()
    other.force_login(make_member(Member.Role.SUPPORT).user)
    own, foreign = (Session.objects.get(session_key=hashed_session_key(one)) for one in (client, other))
    foreign.session_data = own.session_data
    foreign.save()

    assert other.get(reverse("mfa_index")).status_code == 302


def test_signing_out_deletes_the_session(client, owner):
    client.force_login(owner)
    session_key = hashed_session_key(client)
    assert Session.objects.filter(session_key=session_key).exists()

    client.post(reverse("account_logout"))

    assert not Session.objects.filter(session_key=session_key).exists()


def test_expired_sessions_are_deleted_hourly(client, owner):
    client.force_login(owner)
    Session.objects.update(expire_date="2026-01-01T00:00Z")

    purge_parameters()

    assert not Session.objects.exists()


def test_no_credentials_are_readable(client, owner, merchant, pay, product):
    pay(product)
    order = Order.objects.get()
    _, api_key = ApiKey.objects.create_key(merchant=merchant, name="shop", scopes=["orders"])
    _, password = VendorLogin.objects.create_login(merchant, "shop")
    token = Token.objects.create(merchant=merchant, token_type="DEFAULT").number  # noqa: S106
    _, invitation = team.invite(merchant, "new@example.com", Member.Role.OWNER, actor=owner)
    upload = UploadLink.objects.create_for(product.fulfillment_methods.get().kind.place).token
    url = "https://93.184.216.34/"
    endpoint = merchant.webhook_endpoints.create(url=url, events=[], secret="whsec_c2VjcmV0c2VjcmV0")
    service = merchant.web_services.create(name="Gen", url=url, secret="whsec_bW9yZXNlY3JldHM", password="letmein-1")
    account = merchant.licensing_accounts.create(name="Go", address=url, api_key="8d1f-key-of-account")
    secret = generate_totp_secret()
    TOTP.activate(owner, secret)
    codes = RecoveryCodes.activate(owner).generate_codes()

    text = dump()

    credentials = [api_key.rpartition("_")[2], password, token, invitation, upload, endpoint.secret, service.secret]
    credentials += [service.password, account.api_key, secret, order.link_token, "correct horse", *codes]
    credentials += [code.code for item in order.items.all() for code in item.activation_codes.all()]
    assert [credential for credential in credentials if credential in text] == []
    assert "ada@example.com" in text  # the dump has content
