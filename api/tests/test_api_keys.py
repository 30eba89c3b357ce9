from datetime import UTC, datetime, timedelta
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


def test_an_expired_key_is_a_401_that_says_so(make_key):
    key, text = make_key(expires_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))

    response = get_orders(text)

    assert response.status_code == 401
    assert response.json()["code"] == "api_key_expired"
    assert "This API key expired at 2026-01-02T03:04:05Z." in response.json()["detail"]
    key.refresh_from_db()
    assert key.last_used_at is None


def test_only_someone_with_the_whole_key_learns_that_it_expired(make_key):
    _, text = make_key(expires_at=timezone.now() - timedelta(days=1))

    response = get_orders(text[:-1] + ("0" if text[-1] != "0" else "1"))

    assert response.status_code == 401 and "code" not in response.json()


def test_a_key_works_until_it_expires(make_key):
    _, text = make_key(expires_at=timezone.now() + timedelta(minutes=1))

    assert get_orders(text).status_code == 200


def get_orders_from(text, address, **headers):
    headers |= {"Authorization": f"Bearer {text}"}
    return APIClient().get("/api/v1/orders/", headers=headers, REMOTE_ADDR=address)


@pytest.mark.parametrize("address", ["192.0.2.10", "::ffff:192.0.2.10", "2001:db8::7"])
def test_a_key_can_be_used_from_its_networks(make_key, address):
    _, text = make_key(allowed_networks=["192.0.2.0/24", "2001:db8::/32"])

    assert get_orders_from(text, address).status_code == 200


@pytest.mark.parametrize("address", ["198.51.100.7", "2001:db9::7"])
def test_from_elsewhere_it_is_a_403_that_names_the_address(make_key, address):
    key, text = make_key(allowed_networks=["192.0.2.0/24", "2001:db8::/32"])

    response = get_orders_from(text, address)

    assert response.status_code == 403
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "address_not_allowed"
    assert f"can’t be used from {address}." in response.json()["detail"]
    key.refresh_from_db()
    assert key.last_used_at is None


def test_without_a_proxy_it_ignores_a_forwarded_address(make_key):
    _, text = make_key(allowed_networks=["192.0.2.0/24"])

    assert get_orders_from(text, "198.51.100.7", **{"X-Forwarded-For": "192.0.2.10"}).status_code == 403


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ("192.0.2.10", 200),
        ("198.51.100.7, 192.0.2.10", 200),
        ("192.0.2.10, 198.51.100.7", 403),  # the client claims the first address; the proxy adds the last
        ("::ffff:192.0.2.10", 200),
        ("192.0.2.10:4711", 200),
        ("unknown", 403),
        ("192.0.2.10, ", 403),
        ("192.0.2.10\x00", 403),
        (",", 403),
        ("1" * 5000, 403),
    ],
)
def test_behind_a_proxy_the_address_is_the_last_forwarded_one(make_key, settings, forwarded, status):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    _, text = make_key(allowed_networks=["192.0.2.0/24"])

    response = get_orders_from(text, "127.0.0.1", **{"X-Forwarded-For": forwarded})

    assert response.status_code == status
    assert response["Content-Type"].startswith("application/")


def test_a_key_without_networks_needs_no_address(make_key):
    _, text = make_key()

    assert get_orders_from(text, "").status_code == 200
