from rest_framework.test import APIClient

from fulfillment.payments import validate_payment
from merchants.models import ApiKey, Product
from orders.placing import place_order


def make_api(merchant, scopes=tuple(ApiKey.Scope.values)):
    """Return a client with a new API key."""
    _, text = ApiKey.objects.create_key(merchant=merchant, name="shop-1", scopes=list(scopes))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


def make_payment(*products, number=1, quantity=1, **fields):
    return {
        "order": f"A{number:010}",
        "paid_at": f"2026-11-22T10:{number // 60 % 60:02}:{number % 60:02}Z",
        "currency": "EUR",
        "checkout_page": "main",
        "language": "en",
        "customer": {"email": "ada@example.com", "first_name": "Ada", "last_name": "Byron", "country": "GB"},
        "items": [
            {
                "item": str(position),
                "product": product.sku if isinstance(product, Product) else product,
                "quantity": quantity,
                "total_price": "59.98",
            }
            for position, product in enumerate(products, start=1)
        ],
    } | fields


def report(api, payment):
    """Report a payment and return the order from the response."""
    response = api.post("/api/v1/payments/", payment, format="json")
    assert response.status_code == 201, response.data
    return response.data


def place(merchant, payment):
    """Store a payment without the API, for tests of other code, and return the order."""
    order, _ = place_order(merchant, validate_payment(merchant, payment), actor="shop-1")
    return order


def pay(api, *products, **fields):
    return report(api, make_payment(*products, **fields))
