"""The command on the page without orders reports a payment that works."""

import json
import re
import shlex
from datetime import timedelta
from html import unescape

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from fulfillment.tests.factories import make_product
from merchants.models import ApiKey, Member, User
from merchants.onboarding import create_merchant

pytestmark = pytest.mark.django_db


@pytest.fixture
def foo(db):
    return create_merchant("Foo", "ada@foo.example")[0]


def page_of(client, merchant, role=Member.Role.OWNER, email="ada.o'neil@foo.example"):
    """The orders page as a member sees it."""
    user = User.objects.create_user(email, "correct horse")
    Member.objects.create(merchant=merchant, user=user, role=role)
    client.force_login(user)
    return unescape(client.get("/orders/").content.decode())


def command_of(page):
    """The arguments of the command, as a shell reads them."""
    (command,) = re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)
    return shlex.split(command.replace("\\\n", ""))


def run(command, key_text):
    _, url, _, authorization, _, content_type, _, body = command
    assert url == "http://127.0.0.1:8000/api/v1/payments/"
    name, _, value = authorization.partition(": ")
    shown = value.removeprefix("Bearer ").removesuffix("…")
    assert key_text.startswith(shown)
    headers = {name: f"Bearer {key_text}"}
    content_type = content_type.partition(": ")[2]
    return APIClient().generic("POST", "/api/v1/payments/", body, content_type=content_type, headers=headers)


@pytest.mark.parametrize("email", ["ada@foo.example", "ada.o'neil@foo.example", "a`id`$home'z@foo.example"])
def test_it_works_for_a_new_merchant(client, foo, make_pool, email):
    make_product(foo, source=None, sku="NO-SOURCE")
    make_product(foo, 3, sku="PRO/2.0+x")
    _, text = ApiKey.objects.create_key(merchant=foo, name="Shop", scopes=["payments"])

    page = page_of(client, foo, email=email)
    response = run(command_of(page), text)

    assert response.status_code == 201, response.data
    assert response.data["items"][0]["fulfillment"] == "done"  # of the product that has a source
    assert json.loads(command_of(page)[-1])["customer"]["email"] == email
    assert f"Replace {text[:11]}_… with the whole text of the API key “Shop”" in page


def test_it_names_the_checkout_page_of_the_merchant(client, foo):
    make_product(foo, 1)
    foo.checkout_pages.update(code="b2b")
    _, text = ApiKey.objects.create_key(merchant=foo, name="Shop", scopes=["payments"])

    assert run(command_of(page_of(client, foo)), text).status_code == 201


def test_it_shows_a_key_that_may_report_payments(client, foo):
    make_key = ApiKey.objects.create_key
    make_key(merchant=foo, name="Reader", scopes=["orders"])
    make_key(merchant=foo, name="Revoked", scopes=["payments"], revoked_at=timezone.now())
    make_key(merchant=foo, name="Expired", scopes=["payments"], expires_at=timezone.now() - timedelta(1))
    assert "Bearer kw_…" in page_of(client, foo)

    key, _ = make_key(merchant=foo, name="Shop", scopes=["payments"])
    assert f"Bearer kw_{key.prefix}_…" in unescape(client.get("/orders/").content.decode())


@pytest.mark.parametrize(
    ("role", "texts"),
    [
        ("owner", ["Create one</a> and put its text", "Add one</a> and put its SKU"]),
        ("manager", ["Ask an owner to create one.", "Add one</a> and put its SKU"]),
        ("support", ["Ask an owner to create one.", "once an owner or manager has added one"]),
    ],
)
def test_it_says_what_is_missing_and_who_can_add_it(client, foo, role, texts):
    page = page_of(client, foo, role)

    assert "YOUR-SKU" in page and all(text in page for text in texts)
