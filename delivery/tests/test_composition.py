import re

import pytest
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils import translation

from delivery.composition import BODY, SUBJECT, SUBJECT_OF_SEVERAL, format_units, split_body
from delivery.facts import read_facts
from delivery.models import Delivery
from fulfillment.actions import enter_codes
from merchants.email_template import TAGS, validate_body, validate_subject
from merchants.models import EmailTemplate
from orders.models import ActivationCode, Order, OrderItem
from pools.imports import import_keys

pytestmark = pytest.mark.django_db

RUSSIAN = {"language": "ru", "customer": {"email": "sofya@example.com", "first_name": "Софья", "country": "RU"}}


@pytest.fixture
def template(merchant):
    def template(body="", *, subject="", product=None, language="en"):
        return EmailTemplate.objects.create(
            merchant=merchant, product=product, language=language, subject=subject, body=body
        )

    return template


@pytest.fixture
def mail(pay, work, mailoutbox):
    """Pay for products, and return the only e-mail that is sent."""

    def mail(*products, **fields):
        pay(*products, **fields)
        work()
        (message,) = mailoutbox
        return message

    return mail


def html_of(message):
    return message.alternatives[0][0]


def test_an_order_of_several_products_gets_one_email(mail, make_product):
    message = mail(make_product(name="Pro"), make_product(name="Lite"))

    assert message.subject.startswith("Your licenses for order A")
    assert "Pro × 1" in message.body and "Lite × 1" in message.body
    assert message.body.count("Hello Ada Byron") == 1 == message.body.count("/o/")


@pytest.mark.parametrize(
    ("language", "country", "greeting", "day", "price"),
    [
        ("en", "US", "Hello Ada Byron,", "November 22, 2026", "€1,259.98"),
        ("en", "GB", "Hello Ada Byron,", "22 November 2026", "€1,259.98"),
        ("de", "DE", "Guten Tag Ada Byron,", "22. November 2026", "1.259,98\xa0€"),
        ("de-AT", "", "Guten Tag Ada Byron,", "22. November 2026", "€\xa01.259,98"),
        ("fr", "FR", "Bonjour Ada Byron,", "22 novembre 2026", "1\u202f259,98\xa0€"),
        ("es", "ES", "Hola, Ada Byron:", "22 de noviembre de 2026", "1.259,98\xa0€"),
        ("ru", "RU", "Здравствуйте, Ada Byron!", "22 ноября 2026\u202fг.", "1\xa0259,98\xa0€"),
        ("pt-BR", "BR", "Hello Ada Byron,", "November 22, 2026", "€1,259.98"),
    ],
)
def test_it_uses_the_customers_language_and_formats(
    mail, product, make_payment, language, country, greeting, day, price
):
    customer = {"email": "ada@example.com", "first_name": "Ada", "last_name": "Byron", "country": country}
    items = [make_payment(product)["items"][0] | {"total_price": "1259.98"}]

    message = mail(product, language=language, customer=customer, items=items)

    for part in (message.body, html_of(message)):
        assert greeting in part and day in part and price in part
    assert message.extra_headers["Content-Language"] == language[:2].replace("pt", "en")


def test_every_tag_is_filled(mail, make_product, make_payment, template):
    product = make_product(name="Pro")
    template("\n".join(f"{name}={{{name}}}" for name in TAGS), subject="{PROGRAM_NAME} for {FNAME}", product=product)
    customer = {
        "email": "ada@example.com",
        "first_name": "Ada",
        "last_name": "Byron",
        "company": "Engines",
        "country": "GB",
    }

    message = mail(product, order="A1", customer=customer)

    order = Order.objects.get()
    key = order.items.get().activation_codes.get().code
    assert message.subject == "Pro for Ada"
    assert message.body.partition("-- \n")[0].strip().splitlines() == [
        f"KEY={key}",
        "PARENT_KEY=",
        "ORDER_ID=A1",
        "PROGRAM_NAME=Pro",
        "QUANTITY=1",
        "PRICE_ALL=€59.98",
        "DATE=22 November 2026",
        "FULLNAME=Ada Byron",
        "FNAME=Ada",
        "LNAME=Byron",
        "EMAIL=ada@example.com",
        "COMPANY=Engines",
        "COUNTRY=United Kingdom",
        f"ORDER_URL={order.url}",
        "INSTRUCTIONS=",
    ]
    assert not re.search(r"\{[A-Z_]+\}", html_of(message))


def test_a_renewal_can_show_the_license_of_its_parent_order(
    pay, make_product, make_payment, work, mailoutbox, template
):
    product = make_product()
    template("{KEY} renews {PARENT_KEY}", product=product)
    subscription = {"id": "S-77", "type": "AR", "period": "P1Y"}

    def item(**fields):
        return [make_payment(product)["items"][0] | {"subscription": subscription | fields}]

    parent = pay(product, order="P1", items=item())
    pay(product, order="R1", items=item(parent_order="P1"))
    work()

    assert f"renews {parent['items'][0]['activation_codes'][0]['code']}" in mailoutbox[1].body


HOSTILE = '<b>"x"</b>\r\n\r\nBcc: eve@example.com {KEY} {ORDER_URL} https://evil.example/ <img src=x>'


@pytest.mark.parametrize("own", [True, False])
def test_customer_input_is_inert(mail, product, template, own):
    if own:
        template("{FULLNAME}, {COMPANY}\n\n{KEY}\nhttps://shop.example/?name={FNAME}", subject="For {FULLNAME}")
    customer = {"email": "ada@example.com", "first_name": HOSTILE, "last_name": "{KEY}", "company": HOSTILE[:100]}

    message = mail(product, customer=customer)

    order = Order.objects.get()
    key = order.items.get().activation_codes.get().code
    html = html_of(message)
    assert message.message()["Bcc"] is None
    assert "\n" not in message.subject
    assert "{KEY}" in message.body and message.body.count(key) == 1 == html.count(key)
    assert "\nBcc" not in message.body
    assert "<b>" not in html and "<img" not in html and "&lt;b&gt;&quot;x&quot;&lt;/b&gt;" in html
    assert 'href="https://evil' not in html


def test_only_a_key_that_is_a_link_becomes_a_link(mail, make_product, merchant):
    product = make_product(keys=0)
    import_keys(
        merchant.pools.get(), ["https://dl.example/a?b=1&c=2", "javascript:alert(1)", "<script>"], actor="test"
    )

    html = html_of(mail(product, quantity=3))

    assert '<a href="https://dl.example/a?b=1&amp;c=2" ' in html
    assert 'href="javascript' not in html
    assert "&lt;script&gt;" in html


def test_a_multiline_key_keeps_its_lines(pay, make_product, work, mailoutbox):
    pay(make_product(source="manual"), quantity=2)
    text = "-----BEGIN-----\n  A  B==\n-----END-----"
    enter_codes(OrderItem.objects.get(), {1: text, 2: "SECOND"}, actor="Sam")
    work()

    message = mailoutbox[0]
    assert f"{text}\n\nSECOND" in message.body
    assert "-----BEGIN-----<br>  A  B==<br>-----END-----</td>" in html_of(message)


def test_a_link_in_the_merchants_text_becomes_a_link(mail, product, template):
    template("Get it at https://dl.example/get?order={ORDER_ID}&q=a.\n\n{KEY}")

    html = html_of(mail(product, order="A1"))

    assert '<a href="https://dl.example/get?order=A1&amp;q=a" ' in html
    assert ">https://dl.example/get?order=A1&amp;q=a</a>." in html


def test_a_link_in_the_plain_text_is_url_encoded(mail, product, template):
    template("See https://shop.example/?name={FULLNAME}&order={ORDER_ID}\n\n{KEY}")

    assert "https://shop.example/?name=Ada%20Byron&order=A1\n" in mail(product, order="A1").body


def test_markup_in_the_merchants_text_is_escaped(mail, product, template):
    template("<b>Thanks</b><script>alert(1)</script>\n\n{KEY}")

    html = html_of(mail(product))

    assert "&lt;b&gt;Thanks" in html and "<script" not in html


def test_it_lists_licenses_that_are_still_to_come(mail, make_product):
    message = mail(make_product(keys=3, name="Photo Pro"), make_product(keys=0, name="Photo Lite"), quantity=5)

    assert "as soon as they’re ready" in message.body and "as soon as they’re ready" in html_of(message)
    assert "Photo Pro: 2 of 5" in message.body and "Photo Lite: 5 of 5" in message.body


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "This is license 1 of 2."),
        ("de", "Dies ist Lizenz 1 von 2."),
        ("fr", "Voici la licence 1 sur 2."),
        ("es", "Esta es la licencia 1 de 2."),
        ("ru", "Это лицензия 1 из 2."),
    ],
)
def test_a_partial_email_says_which_license_it_contains(mail, make_product, language, text):
    message = mail(make_product(keys=1), quantity=2, language=language)

    assert text in message.body and text in html_of(message)


def test_an_email_with_all_licenses_doesnt_number_them(mail, make_product):
    assert "licenses 1" not in mail(make_product(keys=2), quantity=2).body


@pytest.mark.parametrize(
    ("units", "text"),
    [
        ([2], "2"),
        ([1, 2, 3], "1–3"),
        ([1, 3, 4], "1, 3–4"),
        (list(range(1, 60, 2)), ", ".join(map(str, range(1, 41, 2))) + ", …"),
    ],
)
def test_numbers_of_licenses_are_short(units, text):
    assert format_units(units) == text


def test_it_lists_no_missing_licenses_if_all_are_ready(mail, product):
    assert "as soon as they’re ready" not in mail(product).body


class TestChoiceOfText:
    """Product before merchant, the customer's language before English, the merchant's text before Keywell's."""

    def test_a_products_text_takes_precedence_over_the_one_for_all_products(self, mail, product, template):
        template("for all {KEY}", language="de")
        template("for it {KEY}", product=product)

        assert mail(product, language="de").body.startswith("for it ")

    def test_the_customers_language_takes_precedence_over_english(self, mail, product, template):
        template("English {KEY}")
        template("Deutsch {KEY}", language="de")

        assert mail(product, language="de").body.startswith("Deutsch ")

    def test_english_is_used_for_languages_without_a_text(self, mail, product, template):
        template("English {KEY}")
        template("Deutsch {KEY}", language="de")

        assert mail(product, language="ru").body.startswith("English ")

    def test_an_english_subject_is_not_combined_with_a_text_in_another_language(self, mail, product, template):
        template(subject="Here is {PROGRAM_NAME}")

        message = mail(product, language="de")

        assert message.body.startswith("Guten Tag") and message.subject.startswith("Ihre Lizenz")

    def test_the_newest_version_is_used(self, mail, product, template):
        template("old {KEY}")
        template("new {KEY}")

        assert mail(product).body.startswith("new ")

    def test_an_empty_text_restores_the_default(self, mail, product, template):
        template("own {KEY}", subject="Own")
        template()

        message = mail(product)
        assert message.body.startswith("Hello Ada") and message.subject.startswith("Your license")

    def test_another_merchants_text_is_never_used(self, mail, product, outsider):
        EmailTemplate.objects.create(merchant=outsider, language="en", body="theirs {KEY}")

        assert "theirs" not in mail(product).body

    def test_products_with_and_without_their_own_text_share_an_email(self, mail, make_product, template):
        pro, lite = make_product(name="Pro"), make_product(name="Lite")
        template("Hi.\n\nPro: {KEY}\n\nBye.", product=pro)

        body = mail(lite, pro).body

        assert body.index("Hi.") < body.index("Pro: ") < body.index("Bye.") < body.index("Hello Ada")
        assert body.count("Lite × 1") == 1

    def test_the_text_for_all_products_is_used_once_for_several_products(self, mail, make_product, template):
        template("Hi.\n\n{PROGRAM_NAME}:\n{KEY}\n\nBye.", subject="Here is {PROGRAM_NAME}")

        message = mail(make_product(name="Pro"), make_product(name="Lite"))

        assert message.subject == "Here is Pro, Lite"
        assert message.body.count("Hi.") == 1 == message.body.count("Bye.")
        assert re.search(r"Pro:\nPOOL.*\n\nLite:\nPOOL", message.body)


def test_it_comes_from_the_merchants_sender(mail, product, merchant):
    merchant.sender_name, merchant.reply_to = "Northlight, “Sales”", "help@northlight.example"
    merchant.save()

    message = mail(product)

    assert message.from_email == '"Northlight, “Sales”" <keywell@localhost>'
    assert message.reply_to == ["help@northlight.example"]


def test_it_loads_no_external_resources(mail, product):
    html = html_of(mail(product))

    assert not re.search(r"<(img|link|script|iframe|video|audio|source|object)\b|url\(|@import", html)


def test_a_revoked_link_is_left_out(mail, product, monkeypatch):
    monkeypatch.setattr(Order, "url", "")

    message = mail(product)

    assert "at any time" not in message.body and "View my order" not in html_of(message)


def test_a_line_with_a_revoked_link_keeps_its_other_tags(mail, product, template, monkeypatch):
    template("{FNAME}, {PROGRAM_NAME}:\n{KEY}\nYour order: {ORDER_URL}\n{KEY}, {ORDER_URL}")
    monkeypatch.setattr(Order, "url", "")

    message = mail(product)

    key = ActivationCode.objects.get().code
    assert message.body.startswith(f"Ada, {product.name}:\n{key}\n{key}, \n")
    assert html_of(message).count(key) == 2 and "Your order" not in message.body


@pytest.mark.parametrize("tag", ["KEY", "PARENT_KEY", "ORDER_URL"])
def test_the_subject_contains_no_key_and_no_link(mail, product, template, tag):
    with pytest.raises(ValidationError, match=f"The subject can’t contain {{{tag}}}"):
        validate_subject(f"Yours: {{{tag}}}")
    template(subject=f"Yours: {{{tag}}}")  # saved before this was validated

    assert mail(product).subject == "Yours:"


@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "ru"])
def test_the_default_text_is_valid(language):
    with translation.override(language):
        validate_body(translation.gettext(BODY))
        before, of_item, after = split_body(translation.gettext(BODY))
        for subject in (SUBJECT, SUBJECT_OF_SEVERAL):
            validate_subject(translation.gettext(subject))
    assert (len(before), len(of_item), len(after)) == (2, 2, 1)


def test_there_is_a_value_for_every_tag(pay, product):
    pay(product)

    [facts] = read_facts(list(Delivery.objects.all())).values()
    assert set(facts.content().email_items[0].values) == set(TAGS)


@pytest.mark.parametrize(
    ("language", "greeting", "capital"),
    # After a greeting with a comma, German continues in lower case; English and French don't.
    [("en", ",", True), ("de", ",", False), ("fr", ",", True), ("es", ":", True), ("ru", "!", True)],
)
def test_the_first_sentence_is_capitalized_as_its_language_requires(language, greeting, capital):
    with translation.override(language):
        customer = translation.gettext(BODY).splitlines()
        links = render_to_string("emails/lost_key.txt", {"merchant": "Northlight", "lines": []}).splitlines()

    for first, sentence in ((customer[0], customer[2]), (links[1], links[3])):
        assert first.endswith(greeting)
        assert sentence[0].isupper() == capital
