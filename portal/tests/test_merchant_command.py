"""`manage merchant` creates a merchant from a terminal or a script."""

import re

import pytest
from django.core.mail.backends.locmem import EmailBackend
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from merchants.models import ApiKey, Merchant
from notices.models import MerchantNotice

pytestmark = pytest.mark.django_db

FOO = ["Foo", "--owner", "ada@foo.example"]


@pytest.fixture
def run(capsys):
    """Run the command and return what it printed."""

    def run(*arguments):
        call_command("merchant", *arguments)
        return capsys.readouterr().out

    return run


def test_it_creates_a_merchant_and_says_what_it_created(run, mailoutbox):
    out = run(*FOO, "--language", "de")

    assert Merchant.objects.get().language == "de"
    assert "Merchant: Foo (foo), with the checkout page “main”\nPortal: http://127.0.0.1:8000/\n" in out
    assert "Invitation: e-mailed to ada@foo.example, works until" in out
    assert [message.subject for message in mailoutbox] == ["Einladung zu Foo auf Keywell"]
    assert "/invitations/" not in out and "kw_" not in out


def test_the_api_key_that_it_prints_works(run):
    out = run(*FOO, "--api-key", "shop")

    (text,) = re.findall(r"^API key, shown only now: (kw_\w+)$", out, re.MULTILINE)
    assert APIClient().get("/api/v1/orders/", headers={"Authorization": f"Bearer {text}"}).status_code == 200
    key = ApiKey.objects.get()
    assert (key.name, key.created_by, key.scopes) == ("shop", "manage.py merchant", ApiKey.Scope.values)
    assert not MerchantNotice.objects.exists()


def test_without_an_e_mail_it_prints_the_link(run, mailoutbox):
    out = run(*FOO, "--no-invitation")

    (link,) = re.findall(r"http://127.0.0.1:8000(/invitations/\S+)$", out, re.MULTILINE)
    assert "Create account and join" in Client().get(link, follow=True).content.decode()
    assert mailoutbox == []


def test_it_prints_the_link_if_the_mail_server_fails(capsys, monkeypatch):
    def refuse(*args):
        raise OSError("connection refused")

    monkeypatch.setattr(EmailBackend, "send_messages", refuse)

    call_command("merchant", *FOO)

    printed = capsys.readouterr()
    assert "The e-mail to ada@foo.example failed:" in printed.err and "connection refused" in printed.err
    assert re.search(r"/invitations/\S{43}/$", printed.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["Northlight", "--owner", "ada@foo.example"], "NAME: The merchant “Northlight” already exists (northlight)."),
        (["", "--owner", "ada@foo.example"], "NAME: This field is required."),
        (["Foo\nBar", "--owner", "ada@foo.example"], "NAME: Remove the invisible character U+000A."),
        (["Foo", "--owner", "ada"], "--owner: Enter a valid email address."),
        (["Foo"], "the following arguments are required: --owner"),
        ([*FOO, "--language", "xx"], "--language: Select a valid choice. xx is not one of the available choices."),
        ([*FOO, "--api-key", ""], "--api-key: This field is required."),
        ([*FOO, "--api-key", "x" * 101], "--api-key: Ensure this value has at most 100 characters"),
    ],
)
def test_an_error_names_the_argument_and_nothing_is_created(merchant, mailoutbox, arguments, error):
    with pytest.raises(CommandError, match=re.escape(error)):
        call_command("merchant", *arguments)

    assert Merchant.objects.get() == merchant and mailoutbox == [] and not ApiKey.objects.exists()
