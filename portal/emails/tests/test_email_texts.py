"""The pages where merchants edit the texts of e-mails to customers."""

import base64
import io
import re
from html import unescape

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from merchants.models import EmailTemplate, Logo, Member
from pools.imports import import_keys
from portal.tests.browsing import check, look_in, sees, text
from portal.tests.test_every_page import enter
from runtime.tests.installation import TIMEOUT

pytestmark = pytest.mark.django_db

TEXTS = {"subject": "Yours: {PROGRAM_NAME}", "body": "Hallo {FNAME},\r\n\r\n{KEY}"}


@pytest.fixture
def manager(make_member, client):
    client.force_login(make_member(Member.Role.MANAGER, first_name="Max").user)
    return client


def page(client, address="/emails/texts/all/de/"):
    return client.get(address).content.decode()


def test_the_editor_starts_with_keywells_text(manager):
    assert "Guten Tag {FULLNAME}" in page(manager)
    assert "Здравствуйте" in page(manager, "/emails/texts/all/ru/")


def test_saving_adds_a_version_with_its_author_and_time(manager, merchant):
    manager.post("/emails/texts/all/de/", TEXTS)
    manager.post("/emails/texts/all/de/", TEXTS | {"subject": "Better"})

    first, second = EmailTemplate.objects.order_by("pk")
    assert (first.subject, second.subject) == (TEXTS["subject"], "Better")
    assert second.body == "Hallo {FNAME},\n\n{KEY}"
    assert (second.merchant, second.product, second.language) == (merchant, None, "de")
    assert second.saved_by == "Max (manager-max@northlight.example)" and second.saved_at
    assert page(manager).count("Saved by Max (manager-max@northlight.example)") == 2


def test_saving_an_unchanged_text_adds_no_version(manager):
    manager.post("/emails/texts/all/de/", TEXTS)

    answer = manager.post("/emails/texts/all/de/", TEXTS, follow=True)

    assert EmailTemplate.objects.count() == 1
    assert "No changes to save" in answer.content.decode()


def test_a_part_equal_to_the_text_for_all_products_is_not_saved(manager, merchant):
    EmailTemplate.objects.create(merchant=merchant, language="de", body="general {KEY}")

    manager.post(f"/emails/texts/{create_product(merchant)}/de/", {"subject": "Own", "body": "general {KEY}"})

    assert EmailTemplate.objects.latest("pk").subject == "Own"
    assert EmailTemplate.objects.latest("pk").body == ""


def create_product(merchant):
    return merchant.products.create(sku="PRO", name="Photo Pro").pk


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"body": "Hello\n{FNAM}\n{KEY}"}, "Line 2, column 1: unknown tag {FNAM}. Did you mean {FNAME}?"),
        ({"body": "Hello {FNAME}"}, "Add the tag {KEY}"),
        ({"body": ""}, "This field is required"),
        ({"subject": "{KEY}"}, "The subject can’t contain {KEY}"),
        ({"subject": "For {NOBODY}"}, "Line 1, column 5: unknown tag {NOBODY}."),
    ],
)
def test_it_rejects_an_invalid_text_and_names_the_position(manager, texts, message):
    for address in ("", "preview/", "test/"):
        answer = manager.post(f"/emails/texts/all/de/{address}", TEXTS | texts)

        assert answer.status_code == 200 and message in answer.content.decode()
    assert not EmailTemplate.objects.exists()


def test_resetting_restores_the_default_text_and_keeps_the_old_version(manager):
    manager.post("/emails/texts/all/de/", TEXTS)
    version = EmailTemplate.objects.get()

    assert "Reset the text for All products, Deutsch?" in page(manager, "/emails/texts/all/de/reset/")
    manager.post("/emails/texts/all/de/reset/")
    manager.post("/emails/texts/all/de/reset/")

    assert EmailTemplate.objects.count() == 2 and EmailTemplate.objects.latest("pk").is_default
    assert "Guten Tag {FULLNAME}" in page(manager)
    assert "Yours: {PROGRAM_NAME}" in page(manager, f"/emails/texts/all/de/?version={version.pk}")


def test_the_preview_shows_the_version_in_the_editor(manager):
    manager.post("/emails/texts/all/de/", TEXTS)
    version = EmailTemplate.objects.get()
    manager.post("/emails/texts/all/de/", TEXTS | {"subject": "Newer"})

    for wanted, subject in [(str(version.pk), "Yours: "), ("default", "Ihre Lizenz für"), ("", "Newer")]:
        editor = page(manager, f"/emails/texts/all/de/?version={wanted}")
        (address,) = re.findall(r'name="preview"[^>]* src="([^"]*)"', editor)
        assert f"<strong>{subject}" in page(manager, unescape(address))


def test_keywells_text_is_available_even_if_english_is_used_instead(manager, merchant):
    EmailTemplate.objects.create(merchant=merchant, language="en", body="English {KEY}")

    assert "English {KEY}" in page(manager)
    assert "Guten Tag" in page(manager, "/emails/texts/all/de/?version=default")


@pytest.mark.parametrize("address", ["all/xx/", "abc/de/", "99999/de/", "all/de/?version=999", f"{10**20}/de/"])
def test_unknown_texts_and_versions_are_not_found(manager, address):
    assert manager.get(f"/emails/texts/{address}").status_code == 404


def test_a_version_of_another_merchant_is_not_shown(manager, outsider):
    theirs = EmailTemplate.objects.create(merchant=outsider, language="de", body="theirs {KEY}")

    assert manager.get(f"/emails/texts/all/de/?version={theirs.pk}").status_code == 404


def test_the_preview_shows_the_email_and_runs_no_scripts(manager):
    answer = manager.post("/emails/texts/all/de/preview/", TEXTS | {"body": "<script>alert(1)</script> {KEY}"})

    content = answer.content.decode()
    assert "Yours: Photo Pro" in content and "AAAAA-BBBBB" in content
    assert "&lt;!doctype html&gt;" in content and content.count("<html") == 1
    assert "<script" not in content
    assert "script-src 'none'" in answer["Content-Security-Policy"]
    assert "frame-ancestors 'self'" in answer["Content-Security-Policy"]
    assert answer["X-Frame-Options"] == "SAMEORIGIN"


def test_a_test_email_goes_to_the_sender_and_saves_nothing(manager, mailoutbox):
    answer = manager.post("/emails/texts/all/de/test/", TEXTS)

    (message,) = mailoutbox
    assert message.to == ["manager-max@northlight.example"]
    assert message.subject == "[Test] Yours: Photo Pro"
    assert "Hallo Käthe" in message.body
    assert "Test e-mail sent to manager-max@northlight.example" in answer.content.decode()
    assert "Yours: {PROGRAM_NAME}" in answer.content.decode()
    assert not EmailTemplate.objects.exists()


@pytest.mark.parametrize(("scheme", "background"), [("light", "not all"), ("dark", "all")])
def test_the_preview_is_light_or_dark_whatever_the_browser_prefers(manager, scheme, background):
    for answer in (
        manager.get(f"/emails/texts/all/de/preview/?scheme={scheme}"),
        manager.post("/emails/texts/all/de/preview/", TEXTS | {"scheme": scheme}),
    ):
        html = answer.content.decode()
        assert f"@media {background} {{\n  .ground" in html
        assert f":root {{ color-scheme: {scheme};" in html and "(prefers-color-scheme" not in html


def test_a_text_is_shown_as_it_is_even_if_it_looks_like_a_style(manager):
    looks = "<style> color-scheme: light dark (prefers-color-scheme: dark)"

    html = manager.post("/emails/texts/all/de/preview/", {"scheme": "dark", "subject": looks, "body": "{KEY}"})

    assert html.content.decode().count("color-scheme: light dark (prefers-color-scheme: dark)") == 2


def test_without_a_chosen_scheme_the_browser_decides(manager):
    for query in ("", "?scheme=purple"):
        assert "(prefers-color-scheme: dark)" in page(manager, f"/emails/texts/all/de/preview/{query}")


def make_image(kind="PNG", size=(1000, 200)):
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, kind)
    return file.getvalue()


def upload(client, content, name="logo.png"):
    data = {"sender_name": "", "reply_to": "", "logo_file": SimpleUploadedFile(name, content)}
    return client.post("/emails/sender/", data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_it_re_encodes_the_logo_and_shows_it_in_emails(manager, merchant, kind, pay, product, work, mailoutbox):
    assert upload(manager, make_image(kind)).status_code == 302
    pay(product)
    work()

    logo = Logo.objects.get()
    assert (logo.width, logo.height) == (480, 96)
    html = mailoutbox[0].alternatives[0][0]
    assert f'src="http://127.0.0.1:8000/logos/{logo.digest}.png"' in html and 'width="240"' in html
    manager.logout()
    answer = manager.get(f"/logos/{logo.digest}.png")
    assert answer["Content-Type"] == "image/png" and "immutable" in answer["Cache-Control"]
    assert Image.open(io.BytesIO(answer.content)).size == (480, 96)


def test_a_removed_logo_stays_available_for_emails_already_sent(manager, merchant):
    upload(manager, make_image())
    manager.post("/emails/sender/", {"remove_logo": "on"})

    merchant.refresh_from_db()
    assert merchant.logo is None
    assert manager.get(f"/logos/{Logo.objects.get().digest}.png").status_code == 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "Can’t read this file"),
        (make_image()[:200], "Can’t read this file"),
        (make_image() + b"<script>", ""),
        (b"GIF89a" + b"\0" * 40, "Can’t read this file"),
        (b"\0" * (2 * 1024 * 1024 + 1), "larger than 2 MB"),
    ],
)
def test_it_rejects_a_file_that_is_not_an_image(manager, content, message):
    answer = upload(manager, content)

    if message:
        assert answer.status_code == 200 and message in answer.content.decode()
        assert not Logo.objects.exists()
    else:
        assert b"<script>" not in bytes(Logo.objects.get().image)


def test_it_rejects_an_image_with_too_many_pixels(manager):
    assert "4 million pixels" in upload(manager, make_image(size=(5000, 4000))).content.decode()


@pytest.mark.parametrize("address", ["help", f"help@{'ü' * 60}.example"])
def test_it_rejects_an_invalid_reply_to_address(manager, merchant, address):
    answer = manager.post("/emails/sender/", {"reply_to": address})

    assert "Enter a valid email address" in answer.content.decode()
    merchant.refresh_from_db()
    assert merchant.reply_to == ""


def test_it_rejects_a_sender_name_of_two_lines(manager, merchant):
    answer = manager.post("/emails/sender/", {"sender_name": "Northlight\nBcc: eve@example.com"})

    assert "Use a single line" in answer.content.decode()
    merchant.refresh_from_db()
    assert merchant.sender_name == ""


@pytest.mark.django_db(transaction=True)
def test_the_preview_updates_while_typing(browser, live_server, client, make_member, merchant):
    enter(browser, live_server, client, make_member(Member.Role.MANAGER).user)
    browser.get(f"{live_server}/emails/texts/all/fr/")
    check(browser)
    wait(browser, lambda: "Bonjour Amélie Moreau" in email_in_preview(browser))

    body = browser.find_element(By.NAME, "body")
    body.clear()
    body.send_keys("Salut {FNAME}\n\n{KEY}")
    wait(browser, lambda: "Salut Amélie" in email_in_preview(browser))
    body.send_keys("{NOPE}")
    wait(browser, lambda: "unknown tag {NOPE}" in preview(browser))
    browser.find_element(By.XPATH, "//button[text()='Save']").click()
    sees(browser, "unknown tag {NOPE}")
    wait(browser, lambda: "unknown tag {NOPE}" in preview(browser))
    assert not EmailTemplate.objects.exists()

    body = browser.find_element(By.NAME, "body")
    body.clear()
    body.send_keys("Salut {FNAME}\n\n{KEY}")
    browser.find_element(By.XPATH, "//button[text()='Save']").click()
    sees(browser, "New e-mails use this text", "Saved by")
    assert EmailTemplate.objects.get().body == "Salut {FNAME}\n\n{KEY}"


@pytest.mark.django_db(transaction=True)
def test_the_email_is_accessible(browser, make_product, make_pool, merchant, pay, work, mailoutbox):
    pool = make_pool()
    import_keys(
        pool, ["LONG-" * 40, "https://dl.example/" + "a" * 200, "-----BEGIN-----\n  QUJD\n-----END-----"], actor="test"
    )
    pay(make_product(pool=pool, name="Photo" * 30), make_product(keys=1, name="Lite"), quantity=4, language="ru")
    work()
    html = mailoutbox[0].alternatives[0][0]

    for scheme in ("light", "dark"):
        look_in(browser, scheme)
        browser.get("data:text/html;base64," + base64.b64encode(html.encode()).decode())
        check(browser)
    assert "-----BEGIN-----\n  QUJD\n-----END-----" in text(browser)


def wait(browser, condition):
    WebDriverWait(browser, TIMEOUT, 0.1).until(lambda _: condition())


def preview(browser):
    """The text in the preview's frame."""
    return in_preview(browser, "content.body?.innerText")


def email_in_preview(browser):
    """The HTML of the e-mail that the preview's frame shows."""
    return in_preview(browser, "content.querySelector('iframe')?.srcdoc")


def in_preview(browser, expression):
    """
    Evaluate an expression on the document in the preview's frame; return "" while the frame is being replaced.

    The script runs in the page itself, because a driver that switched to the frame hangs when the page replaces it.
    """
    return browser.execute_script(
        "const content = document.querySelector('iframe[name=preview]')?.contentDocument;"
        f"return content ? {expression} || '' : ''"
    )
