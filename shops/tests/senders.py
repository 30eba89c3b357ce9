"""What shops send. Needs no Django, so that benchmarks and fault tests use it, too."""

from base64 import b64encode
from hmac import digest

SECRET = "a secret of the shop"


def sign(body, secret=SECRET, *, form="base64", algorithm="sha256"):
    code = digest(secret.encode(), body, algorithm)
    return code.hex() if form == "hex" else b64encode(code).decode()


def make_order(**fields):
    """An order of WooCommerce."""
    return {
        "id": 727,
        "number": "727",
        "status": "processing",
        "currency": "EUR",
        "date_paid_gmt": "2026-11-22T17:28:08",
        "total": "29.35",
        "billing": {
            "first_name": "Ada",
            "last_name": "Byron",
            "company": "",
            "country": "GB",
            "email": "ada@example.com",
        },
        "line_items": [
            {
                "id": 315,
                "name": "Photo Pro",
                "product_id": 93,
                "variation_id": 0,
                "quantity": 2,
                "total": "6.00",
                "total_tax": "0.45",
                "sku": "PHOTO-PRO",
            }
        ],
        "shipping_lines": [{"id": 317, "method_title": "Flat Rate", "total": "10.00", "total_tax": "0.00"}],
        "meta_data": [],
        "refunds": [],
    } | fields
