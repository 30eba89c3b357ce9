"""Each recipient gets a notice in their language."""

import pytest

from merchants.models import Member, User
from notices.api_keys import create_api_key
from notices.models import MerchantNotice
from outbound.mail import MailError
from portal.tests.translating import install

pytestmark = pytest.mark.django_db(transaction=True)

ENGLISH, GERMAN = "New API key of Northlight: shop", "Neuer API-Schlüssel von Northlight: shop"


@pytest.fixture
def owners(merchant, make_member, settings, tmp_path):
    subject = "New API key of %(merchant)s: %(name)s"
    install(settings, tmp_path, "de", {subject: "Neuer API-Schlüssel von %(merchant)s: %(name)s"})
    greta = make_member(Member.Role.OWNER, first_name="Greta").user
    User.objects.filter(pk=greta.pk).update(language="de")


def notify(merchant):
    create_api_key(merchant, name="shop", scopes=["payments"], actor="Ada")


def test_recipients_with_different_languages_get_their_own_email(merchant, owners, work, mailoutbox):
    notify(merchant)
    work()

    assert {message.subject: message.to for message in mailoutbox} == {
        ENGLISH: ["owner@northlight.example"],
        GERMAN: ["owner-greta@northlight.example"],
    }
    assert MerchantNotice.objects.get().sent_at


def test_people_without_a_language_get_the_merchants(merchant, owners, work, mailoutbox):
    merchant.language = "de"
    merchant.save()
    notify(merchant)
    work()

    (message,) = mailoutbox
    assert (message.subject, len(message.to)) == (GERMAN, 2)


def test_a_retry_sends_only_what_was_not_sent(merchant, owners, work, mailoutbox, monkeypatch):
    from notices import sending

    real, failures = sending.send_email, [MailError("The mail server is busy.")]

    def send_email(message):
        if message.subject == GERMAN and failures:
            raise failures.pop()
        return real(message)

    monkeypatch.setattr(sending, "send_email", send_email)
    notify(merchant)
    work()
    notice = MerchantNotice.objects.get()
    assert (notice.sent_at, notice.reason) == (None, "The mail server is busy.")
    MerchantNotice.objects.update(due_at=notice.created_at)
    work()

    assert [message.subject for message in mailoutbox] == [ENGLISH, GERMAN]
    assert MerchantNotice.objects.get().sent_at
