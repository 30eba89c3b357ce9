"""The team page, and the way from an invitation to a member."""

import re
from datetime import timedelta
from itertools import count

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.core.cache import cache
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from merchants.models import Invitation, Member, User
from merchants.team import withdraw

Role = Member.Role
TEAM = reverse("team")
INVITATION = reverse("invitation")
PERSON = {"first_name": "Ada", "last_name": "Byron", "password": "battery staple"}


@pytest.fixture
def make_member(merchant):
    numbers = count(1)

    def make(role=Role.SUPPORT, merchant=merchant):
        user = User.objects.create_user(f"{role}{next(numbers)}@{merchant.slug}.example", "correct horse")
        return Member.objects.create(merchant=merchant, user=user, role=role)

    return make


@pytest.fixture
def owner(merchant):
    return merchant.members.get()


@pytest.fixture
def page(client, owner):
    """A client the owner is signed in with."""
    client.force_login(owner.user)
    return client


@pytest.fixture
def invite(page, mailoutbox):
    """Invite, and return the address of the link in the mail."""

    def invite(email="ada@example.com", role=Role.MANAGER):
        response = page.post(reverse("team-invite"), {"email": email, "role": role})
        assert response.status_code == 302, response.content.decode()
        return link(mailoutbox)

    return invite


def link(mailoutbox):
    return re.findall(r"http://127.0.0.1:8000(/invitations/\S+)", mailoutbox[-1].body)[0]


def opened(path, client=None):
    client = client or Client()
    return client, client.get(path, follow=True)


# The page


def test_it_shows_who_belongs_to_the_team(page, make_member):
    TOTP.activate(make_member(Role.MANAGER).user, generate_totp_secret())

    text = page.get(TEAM).content.decode()

    assert "owner@northlight.example (you)" in text
    assert "manager1@northlight.example" in text
    assert re.search(r"manager1@.*?</svg>on</span>", text, re.DOTALL)
    assert text.count("</svg>on</span>") == 1


def test_it_asks_the_database_as_often_for_many_as_for_few(page, make_member, invite, django_assert_num_queries):
    make_member()
    invite("guest@example.com")
    page.get(TEAM)
    with CaptureQueriesContext(connection) as queries:
        page.get(TEAM)
    few = len(queries)
    for number in range(3):
        make_member()
        invite(f"guest{number}@example.com")
    page.get(TEAM)

    with django_assert_num_queries(few):
        page.get(TEAM)


@pytest.mark.parametrize("role", [Role.MANAGER, Role.SUPPORT])
@pytest.mark.parametrize("name", ["team", "team-invite", "second-factor-on", "second-factor-off"])
def test_it_is_for_owners(client, make_member, role, name):
    client.force_login(make_member(role).user)

    assert client.get(reverse(name)).status_code == 403


@pytest.mark.parametrize("name", ["member-role", "member-remove", "invitation-withdraw", "invitation-send"])
def test_acts_are_for_owners(client, make_member, invite, name):
    member = make_member(Role.MANAGER)
    invite()
    client.force_login(member.user)
    row = Invitation.objects.get() if "invitation" in name else member

    assert client.post(reverse(name, args=[row.pk])).status_code == 403


def test_who_is_not_signed_in_signs_in_first(client, db):
    assert client.get(TEAM).status_code == 302


@pytest.mark.parametrize("name", ["member-role", "member-remove", "invitation-withdraw", "invitation-send"])
def test_another_merchants_team_is_not_there(client, page, make_member, outsider, invite, name):
    member = make_member()
    invite()
    row = Invitation.objects.get() if "invitation" in name else member
    charlie = Client()
    charlie.force_login(outsider.members.get().user)

    assert charlie.get(reverse(name, args=[row.pk])).status_code in {404, 405}
    assert charlie.post(reverse(name, args=[row.pk]), {"role": "owner"}).status_code == 404


def test_it_offers_to_invite_who_is_alone(page):
    assert "You’re the only member." in page.get(TEAM).content.decode()


# Members


def test_a_role_is_changed(page, make_member):
    member = make_member()

    response = page.post(reverse("member-role", args=[member.pk]), {"role": "manager"}, follow=True)

    member.refresh_from_db()
    assert member.role == Role.MANAGER
    assert "is now manager" in response.content.decode()


def test_a_role_that_there_is_not_is_refused(page, make_member):
    member = make_member()

    page.post(reverse("member-role", args=[member.pk]), {"role": "king"})

    member.refresh_from_db()
    assert member.role == Role.SUPPORT


def test_a_member_is_removed_and_sees_nothing_more(page, make_member):
    member = make_member()
    other = Client()
    other.force_login(member.user)
    assert other.get("/orders/").status_code == 200

    page.post(reverse("member-remove", args=[member.pk]))

    assert other.get("/orders/").status_code == 403


def test_looking_at_the_confirmation_removes_nobody(page, make_member):
    member = make_member()

    response = page.get(reverse("member-remove", args=[member.pk]))

    assert "Remove support1@northlight.example?" in response.content.decode()
    assert Member.objects.filter(pk=member.pk).exists()


def test_the_confirmation_comes_as_a_dialog(page, make_member):
    response = page.get(reverse("member-remove", args=[make_member().pk]), headers={"hx-request": "true"})

    assert response["Content-Confirm"] == "yes"
    assert "<html" not in response.content.decode()


def test_the_last_owner_cannot_be_removed_or_made_less(page, owner):
    removed = page.post(reverse("member-remove", args=[owner.pk]), follow=True)
    lessened = page.post(reverse("member-role", args=[owner.pk]), {"role": "support"}, follow=True)

    for response in (removed, lessened):
        assert "is the only owner. Make someone else an owner first." in response.content.decode()
    assert Member.objects.get().role == Role.OWNER


def test_an_owner_who_steps_back_is_led_away(page, owner, make_member):
    make_member(Role.OWNER)

    response = page.post(reverse("member-role", args=[owner.pk]), {"role": "support"}, follow=True)

    assert response.status_code == 200 and response.redirect_chain[-1][0] == "/orders/"


# The second factor


def test_an_owner_without_a_second_factor_cannot_require_one(page, merchant):
    response = page.post(reverse("second-factor-on"), follow=True)

    merchant.refresh_from_db()
    assert not merchant.second_factor_required
    assert "Set up your own second factor first" in response.content.decode()


def test_a_second_factor_is_required_and_required_no_longer(page, merchant, owner, make_member):
    make_member()
    TOTP.activate(owner.user, generate_totp_secret())
    assert "Members without it: 1." in page.get(reverse("second-factor-on")).content.decode()

    page.post(reverse("second-factor-on"))
    merchant.refresh_from_db()
    assert merchant.second_factor_required

    page.post(reverse("second-factor-off"))
    merchant.refresh_from_db()
    assert not merchant.second_factor_required


# Invitations


def test_an_invitation_is_mailed_and_listed(page, invite, mailoutbox):
    invite()

    mail = mailoutbox[-1]
    assert mail.to == ["ada@example.com"]
    assert mail.subject == "Join Northlight on Keywell"
    assert "owner@northlight.example invited you to join Northlight on Keywell. Your role: manager." in mail.body
    assert "ada@example.com" in page.get(TEAM).content.decode()


def test_who_is_invited_already_is_not_mailed_again(page, invite, mailoutbox):
    invite()

    response = page.post(reverse("team-invite"), {"email": "ADA@example.com", "role": "owner"})

    assert "ada@example.com has already been invited" in response.content.decode()
    assert len(mailoutbox) == 1


def test_an_invitation_whose_mail_is_refused_stays_and_is_sent_again(page, invite, mailoutbox, monkeypatch):
    def refuse(self, messages):
        raise ConnectionRefusedError("nobody there")

    with monkeypatch.context() as broken:
        broken.setattr(EmailBackend, "send_messages", refuse)
        response = page.post(reverse("team-invite"), {"email": "ada@example.com", "role": "owner"}, follow=True)
    assert "ada@example.com is invited, but the e-mail failed" in response.content.decode()
    assert "not sent" in response.content.decode()

    page.post(reverse("invitation-send", args=[Invitation.objects.get().pk]))

    assert "Join Northlight" in opened(link(mailoutbox))[1].content.decode()


def test_sending_again_ends_the_link_before(page, invite, mailoutbox):
    first = invite()
    Invitation.objects.update(sent_at=timezone.now() - timedelta(minutes=2))

    page.post(reverse("invitation-send", args=[Invitation.objects.get().pk]))

    assert opened(first)[1].status_code == 404
    assert opened(link(mailoutbox))[1].status_code == 200


def test_sending_again_at_once_sends_nothing(page, invite, mailoutbox):
    invite()

    response = page.post(reverse("invitation-send", args=[Invitation.objects.get().pk]), follow=True)

    assert "Wait a minute before" in response.content.decode()
    assert len(mailoutbox) == 1


def test_who_has_no_account_makes_one_and_is_in(invite, merchant):
    guest, response = opened(invite())
    assert "Create an account to sign in as ada@example.com" in response.content.decode()

    response = guest.post(INVITATION, PERSON, follow=True)

    member = merchant.members.get(user__email="ada@example.com")
    assert (member.role, member.user.get_full_name()) == (Role.MANAGER, "Ada Byron")
    assert member.user.check_password("battery staple")
    assert response.redirect_chain[-1][0] == "/"
    assert "Welcome! You’re now manager of Northlight." in response.content.decode()


@pytest.mark.parametrize("change", [{"password": "short"}, {"password": "password123"}, {"first_name": ""}])
def test_a_weak_password_or_no_name_makes_no_account(invite, change):
    guest, _ = opened(invite())

    response = guest.post(INVITATION, PERSON | change)

    assert response.status_code == 200 and "errorlist" in response.content.decode()
    assert not User.objects.filter(email="ada@example.com").exists()


def test_looking_changes_nothing(invite):
    opened(invite())
    opened(invite("bob@example.com"))

    assert not Invitation.objects.exclude(accepted_at=None).exists()
    assert not User.objects.filter(email="ada@example.com").exists()


def test_who_has_an_account_signs_in_and_accepts(invite, merchant):
    User.objects.create_user("ada@example.com", "correct horse")
    guest, response = opened(invite())
    assert f"{reverse('account_login')}?next={INVITATION}" in response.content.decode()
    assert guest.post(INVITATION, PERSON).status_code == 200
    assert not merchant.members.filter(user__email="ada@example.com").exists()

    response = guest.post(
        reverse("account_login"),
        {"login": "ada@example.com", "password": "correct horse", "next": INVITATION},
        follow=True,
    )
    assert "Accept invitation</button>" in response.content.decode()
    guest.post(INVITATION)

    assert merchant.members.get(user__email="ada@example.com").role == Role.MANAGER


def test_who_is_signed_in_as_somebody_else_is_told_and_may_sign_out(page, invite, merchant):
    _, response = opened(invite(), page)
    assert "You’re signed in as owner@northlight.example" in response.content.decode()

    response = page.post(INVITATION, PERSON, follow=True)

    assert "Create an account to sign in as ada@example.com" in response.content.decode()
    assert merchant.members.count() == 1


def test_accepting_twice_makes_one_membership(invite, merchant):
    guest, _ = opened(path := invite())
    guest.post(INVITATION, PERSON)

    again = opened(path, guest)[1]

    assert again.status_code == 410
    assert "This invitation was already accepted" in again.content.decode()
    assert merchant.members.count() == 2


def test_a_link_of_nobody_leads_nowhere(client, db):
    response = opened("/invitations/guessed/", client)[1]

    assert response.status_code == 404
    assert "This invitation link doesn’t work" in response.content.decode()


def test_a_withdrawn_one_says_so(page, invite):
    path = invite()
    page.post(reverse("invitation-withdraw", args=[Invitation.objects.get().pk]))

    guest, response = opened(path)

    assert response.status_code == 410
    assert "This invitation was withdrawn" in response.content.decode()
    assert guest.post(INVITATION, PERSON).status_code == 410


def test_one_that_is_withdrawn_while_it_is_read_is_gone(invite):
    guest, _ = opened(invite())
    withdraw(Invitation.objects.get())

    assert guest.post(INVITATION, PERSON).status_code == 410


def test_an_expired_one_says_so(invite):
    path = invite()
    Invitation.objects.update(expires_at=timezone.now())

    response = opened(path)[1]

    assert response.status_code == 410
    assert "This invitation has expired" in response.content.decode()


def test_the_token_leaves_the_address_at_once(client, invite):
    path = invite()
    guest = Client()

    response = guest.get(path)

    assert response["Location"] == INVITATION
    assert response["Referrer-Policy"] == "no-referrer"
    assert "no-store" in response["Cache-Control"]
    assert path.split("/")[2] not in str(dict(guest.session))


def test_who_joins_a_merchant_that_requires_a_second_factor_is_led_to_it(invite, merchant):
    guest, _ = opened(invite())
    merchant.second_factor_required = True
    merchant.save()

    response = guest.post(INVITATION, PERSON, follow=True)

    assert response.redirect_chain[-1][0] == reverse("mfa_index")


def test_who_works_for_two_merchants_arrives_at_the_new_one(invite, make_merchant):
    ada = User.objects.create_user("ada@example.com", "correct horse")
    Member.objects.create(merchant=make_merchant("Aardvark"), user=ada, role=Role.OWNER)
    guest = Client()
    guest.force_login(ada)
    opened(invite(), guest)

    response = guest.post(INVITATION, follow=True)

    assert "Manager of Northlight" in response.content.decode()


def test_an_address_gets_three_invitations_an_hour(page, merchant, mailoutbox):
    cache.clear()
    for _ in range(5):
        page.post(reverse("team-invite"), {"email": "stranger@example.com", "role": "support"})
        merchant.invitations.get().delete()
    page.post(reverse("team-invite"), {"email": "else@example.com", "role": "support"})

    assert [message.to for message in mailoutbox] == 3 * [["stranger@example.com"]] + [["else@example.com"]]
