"""Who works for a merchant: invitations, roles, the last owner."""

import threading
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from merchants import team
from merchants.models import Invitation, Member, User

Role = Member.Role


@pytest.fixture
def owner(merchant):
    return merchant.members.get()


@pytest.fixture
def bob(merchant):
    user = User.objects.create_user("bob@northlight.example", "correct horse")
    return Member.objects.create(merchant=merchant, user=user, role=Role.OWNER)


@pytest.fixture
def invited(merchant, owner):
    return team.invite(merchant, "Ada@Example.com", Role.MANAGER, actor=owner.user)[0]


@pytest.fixture
def ada(db):
    return User.objects.create_user("ada@example.com", "correct horse")


def age(invitation, **since):
    Invitation.objects.filter(pk=invitation.pk).update(
        sent_at=timezone.now() - timedelta(**since),
        expires_at=timezone.now() - timedelta(**since) + team.INVITATION_LIFETIME,
    )


def test_the_token_is_stored_nowhere(merchant, owner):
    invitation, token = team.invite(merchant, "ada@example.com", Role.SUPPORT, actor=owner.user)

    assert len(token) >= 32
    assert token not in str(Invitation.objects.values().get(pk=invitation.pk))


def test_an_address_is_invited_once_in_any_case(merchant, owner, invited):
    with pytest.raises(team.AlreadyInvited, match="ada@example.com has already been invited"):
        team.invite(merchant, "ADA@example.com", Role.SUPPORT, actor=owner.user)


def test_the_database_refuses_a_second_open_invitation(merchant, invited):
    with pytest.raises(IntegrityError), transaction.atomic():
        Invitation.objects.create(
            merchant=merchant, email=invited.email, role="owner", fingerprint=b"1", expires_at=timezone.now()
        )


def test_a_member_is_not_invited(merchant, owner):
    with pytest.raises(team.AlreadyMember):
        team.invite(merchant, "OWNER@northlight.example", Role.SUPPORT, actor=owner.user)


def test_it_may_be_invited_again_after_it_was_withdrawn(merchant, owner, invited):
    team.withdraw(invited)

    team.invite(merchant, invited.email, Role.SUPPORT, actor=owner.user)


def test_who_accepts_gets_the_role(merchant, invited, ada):
    member = team.accept(invited, ada)

    assert (member.merchant, member.user, member.role) == (merchant, ada, Role.MANAGER)


def test_only_who_was_invited_may_accept(merchant, invited):
    charlie = User.objects.create_user("charlie@example.com", "correct horse")

    with pytest.raises(team.NotInvited, match="This invitation is for ada@example.com."):
        team.accept(invited, charlie)

    assert merchant.members.count() == 1


def test_it_is_accepted_once(merchant, invited, ada):
    team.accept(invited, ada)

    with pytest.raises(team.InvitationGone):
        team.accept(invited, ada)


def test_who_is_a_member_already_keeps_the_role(merchant, invited, ada):
    Member.objects.create(merchant=merchant, user=ada, role=Role.OWNER)

    assert team.accept(invited, ada).role == Role.OWNER


@pytest.mark.parametrize("days", [7, 8])
def test_it_expires_after_a_week(invited, ada, days):
    age(invited, days=days)

    with pytest.raises(team.InvitationGone):
        team.accept(invited, ada)


def test_it_cannot_be_accepted_after_it_was_withdrawn(invited, ada):
    team.withdraw(invited)

    with pytest.raises(team.InvitationGone):
        team.accept(invited, ada)
    with pytest.raises(team.InvitationGone):
        team.accept_as_new_user(invited, "correct horse")


def test_it_cannot_be_withdrawn_after_it_was_accepted(invited, ada):
    team.accept(invited, ada)

    with pytest.raises(team.InvitationGone):
        team.withdraw(invited)


def test_a_renewed_one_has_a_new_token_and_another_week(invited):
    before = bytes(invited.fingerprint)
    age(invited, days=8)

    team.renew(invited)

    assert bytes(invited.fingerprint) != before
    assert invited.expires_at > timezone.now() + timedelta(days=6)


def test_it_is_not_renewed_a_moment_after_it_was_sent(invited):
    age(invited, seconds=59)
    with pytest.raises(team.SentJustNow):
        team.renew(invited)

    age(invited, seconds=61)
    team.renew(invited)


@pytest.mark.django_db(transaction=True)
def test_two_clicks_make_one_account_and_one_membership(merchant, owner, in_threads):
    invitation, _ = team.invite(merchant, "ada@example.com", Role.MANAGER, actor=owner.user)

    def click(_):
        try:
            return team.accept_as_new_user(invitation, "correct horse", first_name="Ada")
        except team.InvitationGone as error:
            return error

    results = in_threads(click, range(4), threads=4)

    assert sum(isinstance(result, Member) for result in results) == 1
    assert User.objects.filter(email="ada@example.com").count() == 1


def test_the_last_owner_stays(owner):
    with pytest.raises(team.LastOwner):
        team.remove(owner)
    with pytest.raises(team.LastOwner):
        team.change_role(owner, Role.MANAGER)

    assert Member.objects.get().role == Role.OWNER


def test_the_last_owner_may_become_what_they_are(owner):
    team.change_role(owner, Role.OWNER)

    assert Member.objects.get().role == Role.OWNER


def test_one_of_two_owners_may_go(owner, bob):
    team.remove(bob)

    assert Member.objects.get() == owner


def test_an_owner_who_cannot_sign_in_does_not_count(owner, bob):
    User.objects.filter(pk=bob.user_id).update(is_active=False)

    with pytest.raises(team.LastOwner):
        team.remove(owner)


def test_others_may_go_while_there_is_one_owner(owner, bob):
    team.change_role(bob, Role.SUPPORT)

    team.remove(bob)

    assert Member.objects.get() == owner


def test_owners_of_other_merchants_do_not_count(owner, outsider):
    with pytest.raises(team.LastOwner):
        team.remove(owner)


BOTH_WAYS = pytest.mark.parametrize("act", [team.remove, lambda member: team.change_role(member, Role.SUPPORT)])


@BOTH_WAYS
@pytest.mark.django_db(transaction=True)
def test_the_two_last_owners_do_not_both_go_at_once(merchant, owner, bob, in_threads, act):
    def go(member):
        try:
            act(member)
        except team.LastOwner as error:
            return error

    results = in_threads(go, [owner, bob], threads=2)

    assert [type(result) for result in results].count(team.LastOwner) == 1
    assert merchant.members.filter(role=Role.OWNER).count() == 1


@BOTH_WAYS
@pytest.mark.django_db(transaction=True)
def test_an_owner_who_goes_waits_for_another_who_is_going(merchant, owner, bob, act):
    refused = []

    def go():
        try:
            act(owner)
        except team.LastOwner as error:
            refused.append(error)
        finally:
            connection.close()

    second = threading.Thread(target=go)
    with transaction.atomic():
        act(bob)
        second.start()
        second.join(0.5)
        assert second.is_alive()
    second.join()

    assert refused
    assert merchant.members.get(role=Role.OWNER) == owner


def test_who_has_no_second_factor_cannot_require_one(merchant):
    with pytest.raises(team.NoSecondFactor):
        team.require_second_factor(merchant, True, has_one=False)

    merchant.refresh_from_db()
    assert not merchant.second_factor_required
