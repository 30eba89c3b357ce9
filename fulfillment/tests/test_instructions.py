"""Instructions below the activation codes: the merchant's text, or our default."""

import pytest
from django.core.exceptions import ValidationError

from merchants.email_template import validate_subject
from merchants.models import EmailTemplate
from orders.models import ActivationCode, Order

pytestmark = pytest.mark.django_db

HOSTILE = "Open <b>Help</b>,\nthen {ORDER_ID} & https://evil.example/"
DEFAULTS = {
    "en": "Enter this license number in the program. If you already have a license, the program adds",
    "de": "Geben Sie diese Lizenznummer im Programm ein.",
    "fr": "Saisissez ce numéro de licence dans le programme.",
    "es": "Introduzca este número de licencia en el programa.",
    "ru": "Введите этот номер лицензии в программе.",
}


@pytest.fixture
def order_views(pay, work, mailoutbox, client):
    """Pay; return the e-mail's text, its HTML and the customer's order page."""

    def order_views(*products, source="pool", language="en"):
        pay(*products, order="A1", language=language)
        ActivationCode.objects.update(source=source)
        work()
        [message] = [message for message in mailoutbox if message.to == ["ada@example.com"]]
        page = client.get(f"/o/{Order.objects.get().link_token}/").content.decode()
        return message.body, message.alternatives[0][0], page

    return order_views


def test_instructions_appear_verbatim_below_the_codes(order_views, make_product):
    text, html, page = order_views(make_product(instructions=HOSTILE))

    key = ActivationCode.objects.get().code
    assert text.index(key) < text.index(f"\n\n{HOSTILE}\n\n") < text.index("View your order and licenses")
    for markup in (html, page):
        assert "Open &lt;b&gt;Help&lt;/b&gt;,<br>then {ORDER_ID} &amp; https://evil.example/" in markup
        assert 'href="https://evil.example/' not in markup


def test_each_product_shows_its_own_instructions(order_views, make_product):
    text, html, page = order_views(make_product(name="Pro", instructions="OF-PRO"), make_product(name="Lite"))

    for shown in (text, html, page):
        assert shown.count("OF-PRO") == 1
    assert text.index("Pro × 1") < text.index("OF-PRO") < text.index("Lite × 1")


@pytest.mark.parametrize(("language", "words"), DEFAULTS.items())
def test_a_licensee_number_gets_default_instructions_in_the_customers_language(
    order_views, make_product, language, words
):
    for shown in order_views(make_product(), source="netlicensing", language=language):
        assert words in shown


def test_the_products_instructions_override_the_default(order_views, make_product):
    for shown in order_views(make_product(instructions="Restart it."), source="netlicensing"):
        assert "Restart it." in shown and DEFAULTS["en"] not in shown


def test_pool_keys_get_no_default_instructions(order_views, make_product):
    for shown in order_views(make_product()):
        assert DEFAULTS["en"] not in shown


def test_a_custom_template_places_the_instructions(order_views, make_product, merchant):
    EmailTemplate.objects.create(merchant=merchant, language="en", body="First: {INSTRUCTIONS}\n\n{KEY}\n\nBye")

    text, html, _ = order_views(make_product(instructions="Restart it."))

    assert text.startswith("First: Restart it.\n\n") and text.count("Restart it.") == 1
    assert html.count("Restart it.") == 1


def test_the_tag_leaves_no_gap_without_instructions(order_views, make_product, merchant):
    EmailTemplate.objects.create(merchant=merchant, language="en", body="{KEY}\n\n{INSTRUCTIONS}\n\nBye")

    text, _, _ = order_views(make_product())

    assert f"{ActivationCode.objects.get().code}\n\nBye" in text


def test_instructions_are_hidden_until_there_is_a_code(order_views, make_product):
    _, _, page = order_views(make_product(source="manual", instructions="Restart it."), make_product())

    assert "Restart it." not in page


def test_subjects_cant_contain_instructions():
    with pytest.raises(ValidationError, match="several lines"):
        validate_subject("{INSTRUCTIONS}")
