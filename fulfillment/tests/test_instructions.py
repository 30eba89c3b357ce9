"""What customers do with their activation codes stands beneath them, in the merchant's words or in ours."""

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
def mail(pay, work, mailoutbox, client):
    """Pay, and return the text of the mail, its HTML, and the order's page as its customer sees it."""

    def mail(*products, source="pool", language="en"):
        pay(*products, order="A1", language=language)
        ActivationCode.objects.update(source=source)
        work()
        [message] = [message for message in mailoutbox if message.to == ["ada@example.com"]]
        page = client.get(f"/o/{Order.objects.get().link_token}/").content.decode()
        return message.body, message.alternatives[0][0], page

    return mail


def test_it_stands_beneath_the_codes_as_it_is(mail, make_product):
    text, html, page = mail(make_product(instructions=HOSTILE))

    key = ActivationCode.objects.get().code
    assert text.index(key) < text.index(f"\n\n{HOSTILE}\n\n") < text.index("View your order and licenses")
    for markup in (html, page):
        assert "Open &lt;b&gt;Help&lt;/b&gt;,<br>then {ORDER_ID} &amp; https://evil.example/" in markup
        assert 'href="https://evil.example/' not in markup


def test_each_product_has_its_own(mail, make_product):
    text, html, page = mail(make_product(name="Pro", instructions="OF-PRO"), make_product(name="Lite"))

    for shown in (text, html, page):
        assert shown.count("OF-PRO") == 1
    assert text.index("Pro × 1") < text.index("OF-PRO") < text.index("Lite × 1")


@pytest.mark.parametrize(("language", "words"), DEFAULTS.items())
def test_a_licensees_number_is_explained_in_the_customers_language(mail, make_product, language, words):
    for shown in mail(make_product(), source="netlicensing", language=language):
        assert words in shown


def test_the_products_own_words_come_before_ours(mail, make_product):
    for shown in mail(make_product(instructions="Restart it."), source="netlicensing"):
        assert "Restart it." in shown and DEFAULTS["en"] not in shown


def test_a_key_of_a_pool_is_not_explained(mail, make_product):
    for shown in mail(make_product()):
        assert DEFAULTS["en"] not in shown


def test_a_text_of_ones_own_says_where_it_stands(mail, make_product, merchant):
    EmailTemplate.objects.create(merchant=merchant, language="en", body="First: {INSTRUCTIONS}\n\n{KEY}\n\nBye")

    text, html, _ = mail(make_product(instructions="Restart it."))

    assert text.startswith("First: Restart it.\n\n") and text.count("Restart it.") == 1
    assert html.count("Restart it.") == 1


def test_where_there_is_none_its_tag_leaves_no_gap(mail, make_product, merchant):
    EmailTemplate.objects.create(merchant=merchant, language="en", body="{KEY}\n\n{INSTRUCTIONS}\n\nBye")

    text, _, _ = mail(make_product())

    assert f"{ActivationCode.objects.get().code}\n\nBye" in text


def test_it_is_not_shown_where_no_code_is(mail, make_product):
    _, _, page = mail(make_product(source="manual", instructions="Restart it."), make_product())

    assert "Restart it." not in page


def test_it_is_not_for_subjects():
    with pytest.raises(ValidationError, match="several lines"):
        validate_subject("{INSTRUCTIONS}")
