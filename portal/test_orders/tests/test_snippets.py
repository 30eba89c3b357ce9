"""The request of a test order in four programming languages does what the page says: it reports the same payment."""

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest
from django.urls import reverse
from django.utils.html import escape

from merchants.models import ApiKey, Member
from orders.models import Order
from portal.snippets import LANGUAGES, make_snippets, quote_php
from portal.test_orders.placing import read_payment, send_test_order
from portal.test_orders.views import find_key, result_url
from runtime.tests.installation import TIMEOUT
from runtime.tests.programs import need

HOSTILE = [
    """O'Brien "Bo" \\'; $HOME `id` </script> {{ x }}""",
    "Ünï \N{GRINNING FACE} \u2028 \\u0041 \\n ${x} %s {x} <?php",
]


@dataclass(frozen=True)
class Runner:
    program: str
    package: str  # of Debian
    file: str


RUNNERS = {
    "curl": Runner("curl", "curl", "payment.sh"),
    "python": Runner(sys.executable, "", "payment.py"),
    "php": Runner("php", "php-cli", "payment.php"),
    "javascript": Runner("node", "nodejs", "payment.mjs"),
}


def run(name, text, folder):
    """Run a snippet as a user would, and return what it prints."""
    runner = RUNNERS[name]
    need(runner.program, package=runner.package)
    file = folder / runner.file
    file.write_text(text, encoding="utf-8")
    program = "sh" if name == "curl" else runner.program
    done = subprocess.run([program, file], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def order(merchant, make_product, make_member):
    """A test order with hostile texts wherever people can enter some."""
    product = make_product(sku="PHÖTO/PRO+1:2.x-y", name=f'"</pre><script>{HOSTILE[0]}')
    recipient = make_member(Member.Role.MANAGER).user
    recipient.first_name, recipient.last_name = HOSTILE
    recipient.save()
    return send_test_order(
        merchant,
        product=product,
        quantity=3,
        recipient=recipient,
        checkout_page=merchant.checkout_pages.get(),
        language="de",
        actor="Max",
    )


def snippets_of(order, key):
    payment = read_payment(order, list(order.items.select_related("product")))
    assert payment
    made = make_snippets("POST", reverse("api-payments"), payment, key=key)
    return {snippet.name: snippet.text for snippet in made}


@pytest.fixture
def key(sandbox):
    """A test key and its whole text."""
    return ApiKey.objects.create_key(merchant=sandbox, name="shop", scopes=["payments"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", RUNNERS)
def test_it_reports_the_same_payment_again(name, live_server, settings, order, key, tmp_path):
    settings.BASE_URL = live_server.url
    saved, whole = key
    text = snippets_of(order, saved)[name].replace(f"{saved.text_start}_…", whole)

    printed = run(name, text, tmp_path)
    answer = json.loads(printed[printed.index("{") :])
    assert (answer["order"], answer["test"]) == (order.number, True)
    assert len(answer["items"][0]["activation_codes"]) == 3
    assert Order.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", RUNNERS)
def test_it_shows_why_a_payment_was_refused(name, live_server, settings, order, key, tmp_path):
    settings.BASE_URL = live_server.url
    saved, whole = key
    text = snippets_of(order, saved)[name].replace(f"{saved.text_start}_…", f"{whole}x")

    printed = run(name, text, tmp_path)
    answer = json.loads(printed[printed.index("{") :])
    assert answer["status"] == 401


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", RUNNERS)
def test_with_another_number_it_is_another_order_with_the_same_texts(
    name, live_server, settings, order, key, tmp_path
):
    settings.BASE_URL = live_server.url
    saved, whole = key
    text = snippets_of(order, saved)[name].replace(f"{saved.text_start}_…", whole).replace(order.number, "MINE-1")

    run(name, text, tmp_path)
    mine = Order.objects.get(number="MINE-1")
    assert (mine.first_name, mine.last_name) == (order.first_name, order.last_name)
    assert mine.content == order.content


@pytest.mark.django_db
def test_hostile_texts_stay_texts_on_the_page(client, merchant, order):
    client.force_login(merchant.members.get(role=Member.Role.OWNER).user)
    page = client.get(result_url(order)).content.decode()

    assert "<script>O" not in page
    assert page.count("</script>") == page.count("<script ")
    for text in snippets_of(order, None).values():
        assert escape(text) in page


@pytest.mark.django_db
def test_each_language_has_a_runner(order):
    assert {name for _, name, _ in LANGUAGES} == RUNNERS.keys()
    assert all("kw_test_…" in text for text in snippets_of(order, None).values())


def test_php_texts_need_only_two_escapes():
    assert quote_php("""it's $5 \\ "x" """) == """'it\\'s $5 \\\\ "x" '"""


@pytest.mark.django_db
def test_the_newest_test_key_for_payments_is_shown(sandbox, merchant, key):
    def create(merchant, scopes=("payments",), **fields):
        return ApiKey.objects.create_key(merchant=merchant, name="shop", scopes=list(scopes), **fields)[0]

    create(merchant)
    create(sandbox, scopes=["orders"])
    create(sandbox, revoked_at="2026-01-01T00:00:00Z")
    create(sandbox, expires_at="2026-01-01T00:00:00Z")
    assert find_key(sandbox) == key[0]
    newest = create(sandbox, expires_at="2999-01-01T00:00:00Z")
    assert find_key(sandbox) == newest
