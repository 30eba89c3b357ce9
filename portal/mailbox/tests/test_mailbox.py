"""Superusers read e-mails that go to files. Nothing in them can act in the browser."""

import pytest
from django.core.mail import EmailMultiAlternatives

from merchants.models import User
from outbound import mail_files
from outbound.mail import send_email
from outbound.mail_files import newest
from portal.mailbox import views

HOSTILE = (
    "<p>Hello</p><script>alert(1)</script><img src='https://evil.example/pixel.gif' onerror='alert(2)'>"
    "<form action='https://evil.example/'><button>Go</button></form><base href='https://evil.example/'>"
)


@pytest.fixture
def folder(settings, tmp_path):
    settings.EMAIL_BACKEND = mail_files.BACKEND
    settings.EMAIL_FILE_PATH = str(tmp_path / "mail")


@pytest.fixture
def staff(client, db, folder):
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    return client


def send(subject="Your license", to="ada@example.com", html=HOSTILE, text="See https://shop.example/?a=1&b=<b>"):
    message = EmailMultiAlternatives(subject, text, "shop@example.com", [to], headers={"Message-ID": "<1@shop>"})
    if html:
        message.attach_alternative(html, "text/html")
    message.attach("guide.pdf", b"x" * 2048, "application/pdf")
    with send_email(message):
        pass
    return newest(1)[0].name


def test_an_email_that_was_just_sent_is_first_in_the_list(staff):
    send("First")
    send("Second", to="Bo <bo@example.com>")

    page = staff.get("/mailbox/").content.decode()
    assert page.index("Second") < page.index("First")
    assert "bo@example.com" in page


def test_a_delivered_order_appears_in_it(staff, pay, product, work):
    pay(product)
    work()

    assert f"Your license for {product.name}" in staff.get("/mailbox/").content.decode()


def test_long_lists_have_pages(staff, monkeypatch):
    monkeypatch.setattr(views, "PER_PAGE", 2)
    for number in range(5):
        send(f"Number {number}")

    shown, address = [], "/mailbox/"
    while address:
        response = staff.get(address)
        shown.append([email.subject for email in response.context["emails"]])
        address = f"/mailbox/{response.context['older']}" if response.context["older"] else ""
    assert shown == [["Number 4", "Number 3"], ["Number 2", "Number 1"], ["Number 0"]]


@pytest.mark.parametrize("words", ["BO@example", "second", " Sec"])
def test_it_can_be_searched_by_recipient_and_subject(staff, words):
    send("First")
    send("Second", to="bo@example.com")

    assert [email.subject for email in staff.get("/mailbox/", {"q": words}).context["emails"]] == ["Second"]


def test_a_search_reads_a_limited_number_of_files(staff, monkeypatch):
    monkeypatch.setattr(views, "SEARCHED", 2)
    for number in range(4):
        send(f"Number {number}")

    page = staff.get("/mailbox/", {"q": "number"})
    assert [email.subject for email in page.context["emails"]] == ["Number 3", "Number 2"]
    assert "Searched the newest 2 e-mails." in page.content.decode()


def test_an_email_shows_its_text_headers_and_attachments(staff):
    page = staff.get(f"/mailbox/{send()}/").content.decode()

    assert "guide.pdf, application/pdf, 2.0" in page
    assert "&lt;1@shop&gt;" in page
    assert 'href="https://shop.example/?a=1&amp;b=' in page
    assert "<b>" not in page.partition("<pre>")[2].partition("</pre>")[0]


def test_the_html_is_in_a_frame_that_may_do_nothing(staff):
    name = send()
    page = staff.get(f"/mailbox/{name}/")
    assert f'src="/mailbox/{name}/html/" sandbox></iframe>' in page.content.decode()
    assert "<script>alert" not in page.content.decode()
    assert "frame-src 'self'" in page.headers["Content-Security-Policy"]

    html = staff.get(f"/mailbox/{name}/html/")
    policy = dict(rule.strip().partition(" ")[::2] for rule in html.headers["Content-Security-Policy"].split(";"))
    assert policy["sandbox"] == ""
    assert policy["default-src"] == policy["script-src"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["img-src"] == "http://127.0.0.1:8000/logos/ data:"
    assert policy["frame-ancestors"] == "'self'" and html.headers["X-Frame-Options"] == "SAMEORIGIN"


def test_an_email_without_html_has_no_frame(staff):
    name = send(html="")

    assert "<iframe" not in staff.get(f"/mailbox/{name}/").content.decode()
    assert staff.get(f"/mailbox/{name}/html/").status_code == 404


@pytest.mark.parametrize("name", ["00000000000000000001-00000000", "..%2f..%2fsecrets.env", "x", "../secrets.env"])
def test_another_name_is_not_found(staff, name):
    assert staff.get(f"/mailbox/{name}/").status_code == 404


def test_a_broken_file_can_be_opened(staff):
    name = send()
    part = b"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/html; charset=zip\n\n\xff"
    for content in (b"", b"\xff\xfe", part):
        newest(1)[0].path.write_bytes(content)
        for address in ("/mailbox/", f"/mailbox/{name}/"):
            assert staff.get(address).status_code == 200


@pytest.mark.parametrize("address", ["/mailbox/", "/mailbox/{name}/", "/mailbox/{name}/html/"])
def test_others_cannot_read_it(staff, client, support, address):
    address = address.format(name=send())
    assert support.get(address).status_code == 302

    client.logout()
    response = client.get(address)
    assert (response.status_code, response.url.partition("?")[0]) == (302, "/admin/login/")


@pytest.mark.parametrize("address", ["/mailbox/", "/mailbox/{name}/", "/mailbox/{name}/html/"])
def test_other_staff_cannot_read_it_since_it_holds_codes_and_links_that_reset_passwords(staff, client, address):
    client.force_login(User.objects.create_user("new@keywell.example", "correct horse", is_staff=True))

    assert client.get(address.format(name=send())).status_code == 403
    assert "/mailbox/" not in client.get("/admin/").content.decode()


def test_staff_need_a_second_factor_as_in_the_admin(staff, settings):
    settings.STAFF_SECOND_FACTOR_REQUIRED = True

    assert staff.get("/mailbox/").url == "/accounts/2fa/"


def test_where_emails_are_sent_there_is_no_mailbox(staff, settings):
    name = send()
    settings.EMAIL_BACKEND = "outbound.mail_servers.InstallationServer"

    for address in ("/mailbox/", f"/mailbox/{name}/", f"/mailbox/{name}/html/"):
        assert staff.get(address).status_code == 404
    assert "/mailbox/" not in staff.get("/admin/").content.decode()


def test_the_admin_links_to_it(staff):
    assert 'href="/mailbox/"' in staff.get("/admin/").content.decode()
