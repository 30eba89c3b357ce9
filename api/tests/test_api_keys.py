from datetime import timedelta
from random import randrange
from types import SimpleNamespace

import pytest
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError
from rest_framework.test import APIClient

from api.throttling import ApiKeyThrottle
from merchants.models import ApiKey


@pytest.fixture
def make_key(merchant):
    def make(**fields):
        return ApiKey.objects.create_key(**({"merchant": merchant, "name": "shop", "scopes": ["orders"]} | fields))

    return make


def get_orders(text):
    return APIClient().get("/api/v1/orders/", headers={"Authorization": f"Bearer {text}"})


def test_it_stores_only_a_hash(make_key):
    key, text = make_key()

    assert text.partition("_")[2].partition("_")[2] not in str(ApiKey.objects.filter(pk=key.pk).values())


def test_a_valid_key_gives_access(make_key):
    _, text = make_key()

    assert get_orders(text).status_code == 200


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),
        lambda text: text.replace("kw_", "kx_"),
        lambda text: text[:11],
        lambda text: "kw_ü_ü",
        lambda text: "kw_\0_" + text[12:],
    ],
)
def test_any_other_text_is_a_401(make_key, spoil):
    _, text = make_key()

    response = get_orders(spoil(text).encode().decode("latin-1"))

    assert response.status_code == 401
    assert response["Content-Type"] == "application/problem+json"
    assert response["WWW-Authenticate"] == 'Bearer realm="Keywell"'


def test_no_key_is_a_401(db):
    assert APIClient().get("/api/v1/orders/").status_code == 401


def test_a_revoked_key_is_a_401(make_key):
    _, text = make_key(revoked_at=timezone.now())

    assert get_orders(text).status_code == 401


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("payments", "post", "/api/v1/payments/"),
        ("payments", "post", "/api/v1/orders/A1/refund/"),
        ("orders", "get", "/api/v1/orders/"),
        ("orders", "get", "/api/v1/orders/A1/"),
        ("orders", "post", "/api/v1/orders/A1/items/1/resend/"),
        ("pools", "get", "/api/v1/pools/"),
        ("pools", "post", "/api/v1/pools/1/keys/"),
    ],
)
def test_each_endpoint_requires_its_scope(make_key, scope, method, path):
    others = [other for other in ApiKey.Scope.values if other != scope]
    _, text = make_key(scopes=others)

    response = getattr(APIClient(), method)(path, headers={"Authorization": f"Bearer {text}"})

    assert response.status_code == 403
    assert scope in response.json()["detail"]


def test_it_records_the_last_use_to_the_minute(make_key, django_assert_num_queries):
    key, text = make_key()

    get_orders(text)
    key.refresh_from_db()
    first = key.last_used_at
    get_orders(text)
    key.refresh_from_db()
    assert first is not None and key.last_used_at == first

    ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    get_orders(text)
    key.refresh_from_db()
    assert key.last_used_at >= first


def test_it_throttles_each_key_separately(make_key, settings, monkeypatch):
    now = 60 * randrange(10**9) + 30  # a random minute without counted requests
    monkeypatch.setattr("api.throttling.time", SimpleNamespace(time=lambda: now))
    settings.API_REQUESTS_PER_MINUTE = 2
    _, text = make_key()
    _, other = make_key()

    statuses = [get_orders(text).status_code for _ in range(2)]
    response = get_orders(text)

    assert statuses == [200, 200]
    assert (response.status_code, response["Retry-After"]) == (429, "30")
    assert get_orders(other).status_code == 200


def test_processes_share_the_limit_in_blocks(make_key, settings, monkeypatch):
    now = 60 * randrange(10**9)
    monkeypatch.setattr("api.throttling.time", SimpleNamespace(time=lambda: now))
    settings.API_REQUESTS_PER_MINUTE = 5000  # blocks of five
    _, text = make_key()
    counted = []
    count = ApiKeyThrottle._count

    def count_and_note(*args):
        counted.append(count(*args))
        return counted[-1]

    monkeypatch.setattr(ApiKeyThrottle, "_count", staticmethod(count_and_note))

    assert {get_orders(text).status_code for _ in range(10)} == {200}
    assert counted == [5, 10]

    key = ApiKey.objects.get()
    count(f"keywell:requests:{key.pk}:{now // 60}", 4987)  # of other processes
    assert [get_orders(text).status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    now += 60
    assert get_orders(text).status_code == 200


def test_it_does_not_throttle_while_valkey_is_down(make_key, monkeypatch):
    def refuse(*args, **kwargs):
        raise RedisConnectionError("gone")

    monkeypatch.setattr("api.throttling.valkey", refuse)
    _, text = make_key()

    assert get_orders(text).status_code == 200
