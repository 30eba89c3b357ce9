import pytest

from orders.models import Order


@pytest.fixture
def url(pay, make_product):
    return pay(make_product(keys=1, name="Photo Pro"), quantity=2)["order_url"].removeprefix("http://127.0.0.1:8000")


def test_it_tells_what_came_and_what_is_to_come(client, url):
    response = client.get(url)

    assert response.status_code == 200
    assert "Photo Pro × 2" in response.content.decode()
    assert "1 of 2 activation codes" in response.content.decode()
    assert "-KEY-" not in response.content.decode()


def test_it_is_neither_cached_nor_indexed_nor_passed_on(client, url):
    response = client.get(url)

    assert "no-store" in response["Cache-Control"]
    assert response["Referrer-Policy"] == "no-referrer"
    assert "noindex" in response["X-Robots-Tag"]


def test_it_is_gone_once_the_order_is_not_paid(client, url):
    Order.objects.update(status="deleted")

    assert client.get(url).status_code == 404


def test_another_token_is_a_404(client, url):
    assert client.get(url[:-2] + "x/").status_code == 404
