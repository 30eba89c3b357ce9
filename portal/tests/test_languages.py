"""In a pseudo-language whose texts are 40 percent longer, no label is left in English and no page is too wide."""

import re
from html.parser import HTMLParser

import pytest
from django.apps import apps

from licensing.models import FailedValidation
from merchants.models import User
from orders.models import RefusedReport
from portal.tests.browsing import check_width
from portal.tests.test_every_page import admin_urls, desk_urls, enter, mailbox, order, page_urls, staff  # noqa: F401
from portal.tests.translating import install_pseudo, pseudo
from work.models import Incident

pytestmark = pytest.mark.django_db(transaction=True)

# Customers’ pages have a language of their own.
OTHERS = ("/o/", "/lost/")
# “button” is also a link that looks like one.
LABELS = {"h1", "h2", "h3", "th", "dt", "label", "legend", "button", "summary", "caption", "option"}
# A coordinate with the decimal comma of a language.
COMMA = re.compile(r'<(?:rect|line|text|svg)[^>]* (?:[xy][12]?|width|height)="\d+,')
UNREAD = {"script", "style", "code", "pre", "svg"}
WORDS = re.compile(r"(?=.*[aeiou])[A-Za-z][a-z]+([ ,:;()]+[A-Za-z]*)*:?")
# Names and data of the test's rows, and names in protocols.
NAMES = re.compile(
    r"Program|Never filled|Outsider|Northlight|Photo P|Your license for|"
    r"Everything$|Vendor$|Soon$|Expired$|Revoked$|main$|long|Stripe"
    r"|Deutsch|English|curl|Authorization|Date$|From$|Company|Country|Currency|Email$|Language$|Order:|Quantity\b"
    r"|Subject$"
    r"|Gumroad$|Make$|Paddle$|Zapier$|\w+ long|Eur$|Shop|Max$|Unit$|Item$|Order$|To$|hex|Python|com$|example$"
)


class LabelCollector(HTMLParser):
    """Collects the texts in elements that label others."""

    def __init__(self):
        super().__init__()
        self.open, self.labels = [], []

    def handle_starttag(self, tag, attrs):
        looks_like_button = "button" in (dict(attrs).get("class") or "").split()
        self.open.append("button" if looks_like_button else tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() not in {tag, "button" if tag == "a" else tag}:
            pass

    def handle_data(self, data):
        if LABELS & set(self.open) and not UNREAD & set(self.open):
            self.labels.append(" ".join(data.split()))


@pytest.fixture(autouse=True)
def pseudo_language(settings, tmp_path, db):
    install_pseudo(settings, tmp_path / "pseudo")


def untranslated(page):
    collector = LabelCollector()
    collector.feed(page)
    assert not COMMA.search(page)
    return {label for label in collector.labels if WORDS.fullmatch(label) and not NAMES.match(label)}


def test_it_detects_a_label_in_english():
    assert untranslated("<th>Paid <code>x-y</code></th><p>Ada</p><th>Páaíid</th><option>Program 7</option>") == {
        "Paid"
    }


def test_no_label_is_left_in_english(client, order, merchant, staff):  # noqa: F811
    User.objects.update(language="de")
    found: dict[str, str] = {}
    client.force_login(merchant.members.get(role="owner").user)
    for address in page_urls(order):
        if not address.startswith(OTHERS):
            found |= dict.fromkeys(untranslated(client.get(address).text), address)
    client.force_login(staff)
    for address in [*desk_urls(order), *admin_urls(order, staff)]:
        found |= dict.fromkeys(untranslated(client.get(address).text), address)

    assert found == {}


# Texts that rows store in English and pages translate with `show_stored`. docs/decisions/0052 names the exceptions.
UNTRANSLATED = {Incident, RefusedReport, FailedValidation}
STORED = {"reason", "error", "rejected_because", "disabled_reason"}
SENTENCE = "The service answered 404, but not in the NetLicensing format."
# So are actors that aren’t people.
ACTORS = {"happened_by", "imported_by", "undone_by", "uploaded_by", "reported_by", "asked_by"}
ACTOR = "API key Main shop"


def store_texts():
    for model in apps.get_models():
        names = {field.name for field in model._meta.concrete_fields if not field.is_relation}
        texts = dict.fromkeys(STORED & names, SENTENCE) if model not in UNTRANSLATED else {}
        if texts := texts | dict.fromkeys(ACTORS & names, ACTOR):
            model._base_manager.update(**texts)


def test_no_stored_text_is_left_in_english(client, order, merchant, staff):  # noqa: F811
    User.objects.update(language="de")
    store_texts()
    client.force_login(merchant.members.get(role="owner").user)
    pages = {address: client.get(address).text for address in page_urls(order) if not address.startswith(OTHERS)}
    client.force_login(staff)
    # In the admin, only lists translate them.
    addresses = [address for address in admin_urls(order, staff) if not address.endswith("/change/")]
    pages |= {address: client.get(address).text for address in [*desk_urls(order), *addresses]}

    for text, least in ((SENTENCE, 15), (ACTOR, 8)):
        assert {address: page.partition(text)[0][-200:] for address, page in pages.items() if text in page} == {}
        assert sum(pseudo(text).removesuffix("Máaíin shóop") in page for page in pages.values()) >= least


def test_long_texts_fit_every_screen(chrome, live_server, client, order, merchant, staff):  # noqa: F811
    User.objects.update(language="de")
    chrome.delete_all_cookies()
    enter(chrome, live_server, client, merchant.members.get(role="owner").user)
    check_widths(chrome, live_server, [each for each in page_urls(order) if not each.startswith(OTHERS)])
    enter(chrome, live_server, client, staff)
    check_widths(chrome, live_server, [*desk_urls(order), *admin_urls(order, staff)])


def check_widths(browser, live_server, addresses):
    for address in addresses:
        browser.get(f"{live_server}{address}")
        for width in (1280, 390, 320):
            browser.set_window_size(width, 900)
            check_width(browser)
