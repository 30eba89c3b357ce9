"""The team page and invitations."""

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
    """A client signed in as the owner."""
    client.force_login(owner.user)
    return client


@pytest.fixture
def invite(page, mailoutbox):
    """Invite, and return the path of the link in the e-mail."""

    def invite(email="ada@example.com", role=Role.MANAGER):
        response = page.post(reverse("team-invite"), {"email": email, "role": role})
        assert response.status_code == 302, response.content.decode()
        return link(mailoutbox)

    return invite


def link(mailoutbox):
    return re.findall(r"http://127.0.0.1:8000(/invitations/\S+)", mailoutbox[-1].body)[0]


def open_link(path, client=None):
    client = client or Client()
    return client, client.get(path, follow=True)


# The page


def test_it_shows_the_members_and_their_second_factors(page, make_member):
    TOTP.activate(make_member(Role.MANAGER).user, generate_totp_secret())

    text = page.get(TEAM).content.decode()

    assert "owner@northlight.example (you)" in text.replace("<wbr>", "")
    assert "manager1@northlight.example" in text
    assert re.search(r"manager1@.*?</svg>on</span>", text, re.DOTALL)
    assert text.count("</svg>on</span>") == 1


def test_the_number_of_queries_does_not_grow_with_the_team(page, make_member, invite, django_assert_num_queries):
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
def test_only_owners_can_open_the_pages(client, make_member, role, name):
    client.force_login(make_member(role).user)

    assert client.get(reverse(name)).status_code == 403


@pytest.mark.parametrize("name", ["member-role", "member-remove", "invitation-withdraw", "invitation-send"])
def test_only_owners_can_change_the_team(client, make_member, invite, name):
    member = make_member(Role.MANAGER)
    invite()
    client.force_login(member.user)
    row = Invitation.objects.get() if "invitation" in name else member

    assert client.post(reverse(name, args=[row.pk])).status_code == 403


def test_it_requires_signing_in(client, db):
    assert client.get(TEAM).status_code == 302


@pytest.mark.parametrize("name", ["member-role", "member-remove", "invitation-withdraw", "invitation-send"])
def test_another_merchants_team_is_not_found(client, page, make_member, outsider, invite, name):
    member = make_member()
    invite()
    row = Invitation.objects.get() if "invitation" in name else member
    charlie = Client()
    charlie.force_login(outsider.members.get().user)

    assert charlie.get(reverse(name, args=[row.pk])).status_code in {404, 405}
    assert charlie.post(reverse(name, args=[row.pk]), {"role": "owner"}).status_code == 404


def test_it_tells_the_only_member_to_invite_others(page):
    assert "You’re the only member." in page.get(TEAM).content.decode()


# Members


def test_a_role_is_changed(page, make_member):
    member = make_member()

    response = page.post(reverse("member-role", args=[member.pk]), {"role": "manager"}, follow=True)

    member.refresh_from_db()
    assert member.role == Role.MANAGER
    assert "’s role is now Manager" in response.content.decode()


def test_it_rejects_an_unknown_role(page, make_member):
    member = make_member()

    page.post(reverse("member-role", args=[member.pk]), {"role": "king"})

    member.refresh_from_db()
    assert member.role == Role.SUPPORT


def test_a_removed_member_loses_access(page, make_member):
    member = make_member()
    other = Client()
    other.force_login(member.user)
    assert other.get("/orders/").status_code == 200

    page.post(reverse("member-remove", args=[member.pk]))

    assert other.get("/orders/").status_code == 403


def test_opening_the_confirmation_removes_nobody(page, make_member):
    member = make_member()

    response = page.get(reverse("member-remove", args=[member.pk]))

    assert "Remove support1@northlight.example?" in response.content.decode()
    assert Member.objects.filter(pk=member.pk).exists()


def test_the_confirmation_is_a_dialog(page, make_member):
    response = page.get(reverse("member-remove", args=[make_member().pk]), headers={"hx-request": "true"})

    assert response["Content-Confirm"] == "yes"
    assert "<html" not in response.content.decode()


def test_the_last_owner_cannot_be_removed_or_demoted(page, owner):
    removed = page.post(reverse("member-remove", args=[owner.pk]), follow=True)
    demoted = page.post(reverse("member-role", args=[owner.pk]), {"role": "support"}, follow=True)

    for response in (removed, demoted):
        assert "is the only owner. Make someone else an owner first." in response.content.decode()
    assert Member.objects.get().role == Role.OWNER


def test_an_owner_who_steps_down_is_redirected_to_the_orders(page, owner, make_member):
    make_member(Role.OWNER)

    response = page.post(reverse("member-role", args=[owner.pk]), {"role": "support"}, follow=True)

    assert response.status_code == 200 and response.redirect_chain[-1][0] == "/orders/"


# The second factor


def test_an_owner_without_a_second_factor_cannot_require_one(page, merchant):
    response = page.post(reverse("second-factor-on"), follow=True)

    merchant.refresh_from_db()
    assert not merchant.second_factor_required
    assert "Set up your own second factor first" in response.content.decode()


def test_a_second_factor_can_be_required_and_made_optional_again(page, merchant, owner, make_member):
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
    assert "owner@northlight.example invited you to join Northlight on Keywell. Your role: Manager." in mail.body
    assert "ada@example.com" in page.get(TEAM).content.decode()


def test_inviting_an_invited_address_sends_no_email(page, invite, mailoutbox):
    invite()

    response = page.post(reverse("team-invite"), {"email": "ADA@example.com", "role": "owner"})

    assert "ada@example.com has already been invited" in response.content.decode()
    assert len(mailoutbox) == 1


def test_an_invitation_whose_email_failed_can_be_sent_again(page, invite, mailoutbox, monkeypatch):
    def fail_to_connect(self, messages):
        raise ConnectionRefusedError("nobody there")

    with monkeypatch.context() as broken:
        broken.setattr(EmailBackend, "send_messages", fail_to_connect)
        response = page.post(reverse("team-invite"), {"email": "ada@example.com", "role": "owner"}, follow=True)
    assert "ada@example.com is invited, but the e-mail failed" in response.content.decode()
    assert "not sent" in response.content.decode()

    page.post(reverse("invitation-send", args=[Invitation.objects.get().pk]))

    assert "Join Northlight" in open_link(link(mailoutbox))[1].content.decode()


def test_sending_again_invalidates_the_previous_link(page, invite, mailoutbox):
    first = invite()
    Invitation.objects.update(sent_at=timezone.now() - timedelta(minutes=2))

    page.post(reverse("invitation-send", args=[Invitation.objects.get().pk]))

    assert open_link(first)[1].status_code == 404
    assert open_link(link(mailoutbox))[1].status_code == 200


def test_sending_again_within_a_minute_sends_nothing(page, invite, mailoutbox):
    invite()

    response = page.post(reverse("invitation-send", args=[Invitation.objects.get().pk]), follow=True)

    assert "Wait a minute before" in response.content.decode()
    assert len(mailoutbox) == 1


def test_a_guest_without_an_account_creates_one_and_joins(invite, merchant):
    guest, response = open_link(invite())
    assert "Create an account to sign in as ada@example.com" in response.content.decode()

    response = guest.post(INVITATION, PERSON, follow=True)

    member = merchant.members.get(user__email="ada@example.com")
    assert (member.role, member.user.get_full_name()) == (Role.MANAGER, "Ada Byron")
    assert member.user.check_password("battery staple")
    assert response.redirect_chain[-1][0] == "/"
    assert "Welcome to Northlight! Your role: Manager." in response.content.decode()


@pytest.mark.parametrize("change", [{"password": "short"}, {"password": "password123"}, {"first_name": ""}])
def test_a_weak_password_or_a_missing_name_creates_no_account(invite, change):
    guest, _ = open_link(invite())

    response = guest.post(INVITATION, PERSON | change)

    assert response.status_code == 200 and "errorlist" in response.content.decode()
    assert not User.objects.filter(email="ada@example.com").exists()


def test_opening_an_invitation_changes_nothing(invite):
    open_link(invite())
    open_link(invite("bob@example.com"))

    assert not Invitation.objects.exclude(accepted_at=None).exists()
    assert not User.objects.filter(email="ada@example.com").exists()


def test_a_guest_with_an_account_signs_in_and_accepts(invite, merchant):
    User.objects.create_user("ada@example.com", "correct horse")
    guest, response = open_link(invite())
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


def test_a_user_signed_in_with_another_account_can_sign_out_and_join(page, invite, merchant):
    _, response = open_link(invite(), page)
    assert "You’re signed in as owner@northlight.example" in response.content.decode()

    response = page.post(INVITATION, PERSON, follow=True)

    assert "Create an account to sign in as ada@example.com" in response.content.decode()
    assert merchant.members.count() == 1


def test_accepting_twice_creates_one_membership(invite, merchant):
    guest, _ = open_link(path := invite())
    guest.post(INVITATION, PERSON)

    again = open_link(path, guest)[1]

    assert again.status_code == 410
    assert "This invitation was already accepted" in again.content.decode()
    assert merchant.members.count() == 2


def test_an_unknown_link_is_not_found(client, db):
    response = open_link("/invitations/guessed/", client)[1]

    assert response.status_code == 404
    assert "This invitation link doesn’t work" in response.content.decode()


def test_a_withdrawn_invitation_says_so(page, invite):
    path = invite()
    page.post(reverse("invitation-withdraw", args=[Invitation.objects.get().pk]))

    guest, response = open_link(path)

    assert response.status_code == 410
    assert "This invitation was withdrawn" in response.content.decode()
    assert guest.post(INVITATION, PERSON).status_code == 410


def test_an_invitation_withdrawn_after_it_was_opened_cannot_be_accepted(invite):
    guest, _ = open_link(invite())
    withdraw(Invitation.objects.get())

    assert guest.post(INVITATION, PERSON).status_code == 410


def test_an_expired_invitation_says_so(invite):
    path = invite()
    Invitation.objects.update(expires_at=timezone.now())

    response = open_link(path)[1]

    assert response.status_code == 410
    assert "This invitation has expired" in response.content.decode()


def test_the_token_is_removed_from_the_url_immediately(client, invite):
    path = invite()
    guest = Client()

    response = guest.get(path)

    assert response["Location"] == INVITATION
    assert response["Referrer-Policy"] == "no-referrer"
    assert "no-store" in response["Cache-Control"]
    assert path.split("/")[2] not in str(dict(guest.session))


def test_joining_a_merchant_that_requires_a_second_factor_leads_to_its_setup(invite, merchant):
    guest, _ = open_link(invite())
    merchant.second_factor_required = True
    merchant.save()

    response = guest.post(INVITATION, PERSON, follow=True)

    assert response.redirect_chain[-1][0] == reverse("mfa_index")


def test_a_member_of_another_merchant_lands_at_the_new_one(invite, make_merchant):
    ada = User.objects.create_user("ada@example.com", "correct horse")
    Member.objects.create(merchant=make_merchant("Aardvark"), user=ada, role=Role.OWNER)
    guest = Client()
    guest.force_login(ada)
    open_link(invite(), guest)

    response = guest.post(INVITATION, follow=True)

    assert "Manager of Northlight" in response.content.decode()


def test_an_address_gets_three_invitations_an_hour(page, merchant, mailoutbox):
    cache.clear()
    for _ in range(5):
        page.post(reverse("team-invite"), {"email": "stranger@example.com", "role": "support"})
        merchant.invitations.get().delete()
    page.post(reverse("team-invite"), {"email": "else@example.com", "role": "support"})

    assert [message.to for message in mailoutbox] == 3 * [["stranger@example.com"]] + [["else@example.com"]]
