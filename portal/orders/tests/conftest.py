import re
from html import unescape

import pytest


def text(response):
    html = response.content.decode().replace("<wbr>", "")
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split()).replace(" ,", ",")


@pytest.fixture
def renew(api, make_payment, product):
    """Return a function that reports yearly orders of a subscription, each naming the previous one as its parent."""

    def renew(*numbers, parent=None):
        for year, number in enumerate(numbers, 1000):
            payment = make_payment(product, order=number, paid_at=f"{year}-05-01T10:00:00Z")
            subscription = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": parent}
            payment["items"][0]["subscription"] = subscription
            assert api.post("/api/v1/payments/", payment, format="json").status_code == 201
            parent = number

    return renew
