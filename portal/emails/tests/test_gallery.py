"""The gallery shows what customers get now, for each product and language."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from merchants.models import EmailTemplate, Member

pytestmark = pytest.mark.django_db

MAX_QUERIES = 12
LANGUAGES = ["English", "Deutsch", "Français", "Español", "Русский"]


@pytest.fixture
def manager(make_member, client):
    client.force_login(make_member(Member.Role.MANAGER, first_name="Max").user)
    return client


@pytest.fixture
def pro(merchant):
    return merchant.products.create(sku="PRO", name="Photo Pro")


@pytest.fixture
def lite(merchant):
    return merchant.products.create(sku="LITE-1", name="Photo Lite")


@pytest.fixture
def write(merchant):
    def write(language="de", product=None, **texts):
        values = {"subject": "Own {PROGRAM_NAME}", "body": "Own {KEY}", "saved_by": "Max (max@northlight.example)"}
        return EmailTemplate.objects.create(merchant=merchant, language=language, product=product, **values | texts)

    return write


def cards(client, query=""):
    """The cards as (heading, language, text)."""
    html = client.get(f"/emails/{query}").content.decode()
    found = []
    for section in re.findall(r'<section aria-labelledby="texts-.*?</section>', html, re.DOTALL):
        (heading,) = re.findall(r"<h2[^>]*>(.*?)</h2>", section)
        for card in re.findall(r'<li class="email-card">.*?</li>', section, re.DOTALL):
            (language,) = re.findall(r"<h3><a[^>]*>([^<]*)<", card)
            found.append((heading, language, " ".join(re.sub(r"<[^>]*>", " ", card).split()).replace(" ,", ",")))
    return found


def places(client, query=""):
    return [card[:2] for card in cards(client, query)]


def test_it_shows_keywells_default_in_each_language(manager, pro):
    found = cards(manager)

    assert [(heading, language) for heading, language, _ in found] == [("All products", name) for name in LANGUAGES]
    assert "Your license for Photo Pro Keywell’s default" in found[0][2]
    assert "Ihre Lizenz für Photo Pro Keywell’s default" in found[1][2]


def test_a_card_says_where_its_text_comes_from_and_who_saved_it(manager, pro, write):
    write("en")
    write("de", pro, subject="Nur {PROGRAM_NAME}")

    found = {card[:2]: card[2] for card in cards(manager, "?product=PRO") + cards(manager)}

    assert found["All products", "English"].endswith("Own Photo Pro own text just now, Max")
    assert "same as English just now, Max" in found["All products", "Русский"]
    assert "Nur Photo Pro own text just now, Max" in found["Photo Pro", "Deutsch"]
    assert "Own Photo Pro same as all products" in found["Photo Pro", "Español"]


def test_the_cards_for_all_products_do_not_show_a_products_own_text(manager, pro, write):
    write("de", pro, subject="Nur {PROGRAM_NAME}")

    assert "Ihre Lizenz für Photo Pro" in cards(manager)[1][2]


def test_a_reset_text_is_not_an_own_text(manager, pro, write):
    write("de", pro)
    write("de", pro, subject="", body="")

    assert "Photo Pro" not in dict(places(manager))
    assert places(manager, "?own=on") == []


def test_own_texts_of_products_follow_and_other_products_are_listed(manager, pro, lite, write):
    write("de", pro)

    assert places(manager)[5:] == [("Photo Pro", "Deutsch")]
    html = manager.get("/emails/").content.decode()
    without = html[html.index("Without own texts") :]
    assert 'href="?product=Photo%20Lite"' in without and "Photo%20Pro" not in without


@pytest.mark.parametrize("text", ["photo lite", "LITE-1"])
def test_a_search_shows_all_texts_of_a_product(manager, pro, lite, text):
    assert places(manager, f"?product={text}") == [("Photo Lite", name) for name in LANGUAGES]


def test_it_filters_by_language_and_own_texts(manager, pro, lite, write):
    write("de", pro)
    write("fr", lite)
    write("de")

    assert places(manager, "?language=de") == [("All products", "Deutsch"), ("Photo Pro", "Deutsch")]
    assert places(manager, "?own=on") == [
        ("All products", "Deutsch"),
        ("Photo Lite", "Français"),
        ("Photo Pro", "Deutsch"),
    ]
    assert places(manager, "?own=on&product=pro") == [("Photo Pro", "Deutsch")]
    assert places(manager, "?language=fr&product=pro") == [("Photo Pro", "Français")]


def test_it_says_that_no_text_matches(manager):
    assert "You have no own texts yet" in manager.get("/emails/?own=on").content.decode()
    assert "No texts match" in manager.get("/emails/?product=nothing").content.decode()


@pytest.mark.parametrize("query", ["?language=xx", "?page=x", "?page=99", f"?product={'x' * 201}", "?product=%00"])
def test_invalid_filters_are_ignored(manager, query):
    assert places(manager, query)[:5] == [("All products", name) for name in LANGUAGES]


def test_it_shows_nothing_of_other_merchants(manager, outsider, write):
    theirs = outsider.products.create(sku="THEIRS", name="Theirs")
    EmailTemplate.objects.create(merchant=outsider, product=theirs, language="de", body="theirs {KEY}")
    EmailTemplate.objects.create(merchant=outsider, language="de", subject="theirs", body="theirs {KEY}")

    assert "heirs" not in manager.get("/emails/").content.decode()
    assert places(manager, "?product=theirs") == []


def test_many_products_take_several_pages_and_few_queries(manager, merchant, write):
    for number in range(9):
        product = merchant.products.create(sku=f"P{number}", name=f"Product {number} {'long ' * 20}")
        for language in ("en", "de", "fr", "es", "ru"):
            write(language, product)

    with CaptureQueriesContext(connection) as queries:
        assert len(places(manager)) == 25
    assert len(queries) <= MAX_QUERIES
    assert places(manager, "?page=3")[0][0].startswith("Product 8")
    assert places(manager, "?own=on&page=2")[0][0].startswith("Product 4")
    assert "?own=True&amp;page=2" in manager.get("/emails/?own=on").content.decode()
    assert manager.get("/emails/?own=True&page=2").context["chosen"] == {"own": True}


def test_its_pictures_load_late_and_are_out_of_the_way(manager):
    html = manager.get("/emails/").content.decode()

    pictures = re.findall(r'<div class="picture" inert><iframe [^>]*loading="lazy"', html)
    assert len(pictures) == html.count("<iframe") == 5


def test_a_picture_shows_the_text_of_now_in_a_sandbox(manager, pro, write):
    write("de", body="<script>alert(1)</script> Erster {KEY}")
    write("de", body="<script>alert(1)</script> Neuer {KEY}")

    with CaptureQueriesContext(connection) as queries:
        answer = manager.get(f"/emails/texts/{pro.pk}/de/picture/")

    content = answer.content.decode()
    assert "Neuer" in content and "Erster" not in content and "AAAAA-BBBBB" in content
    assert "<script" not in content
    policy = answer["Content-Security-Policy"]
    assert (
        "script-src 'none'" in policy and "frame-ancestors 'self'" in policy and policy.split("; ")[-1] == "sandbox "
    )
    assert answer["X-Frame-Options"] == "SAMEORIGIN"
    assert len(queries) <= MAX_QUERIES
