"""A merchant's members: invitations, roles, the last owner."""

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
def open_invitation(merchant, owner):
    return team.invite(merchant, "Ada@Example.com", Role.MANAGER, actor=owner.user)[0]


@pytest.fixture
def ada(db):
    return User.objects.create_user("ada@example.com", "correct horse")


def make_older(invitation, **since):
    Invitation.objects.filter(pk=invitation.pk).update(
        sent_at=timezone.now() - timedelta(**since),
        expires_at=timezone.now() - timedelta(**since) + team.INVITATION_LIFETIME,
    )


def test_the_token_is_not_stored(merchant, owner):
    invitation, token = team.invite(merchant, "ada@example.com", Role.SUPPORT, actor=owner.user)

    assert len(token) >= 32
    assert token not in str(Invitation.objects.values().get(pk=invitation.pk))


def test_an_address_cannot_be_invited_twice_regardless_of_case(merchant, owner, open_invitation):
    with pytest.raises(team.AlreadyInvited, match="ada@example.com has already been invited"):
        team.invite(merchant, "ADA@example.com", Role.SUPPORT, actor=owner.user)


def test_the_database_rejects_a_second_open_invitation(merchant, open_invitation):
    with pytest.raises(IntegrityError), transaction.atomic():
        Invitation.objects.create(
            merchant=merchant, email=open_invitation.email, role="owner", fingerprint=b"1", expires_at=timezone.now()
        )


def test_a_member_cannot_be_invited(merchant, owner):
    with pytest.raises(team.AlreadyMember):
        team.invite(merchant, "OWNER@northlight.example", Role.SUPPORT, actor=owner.user)


def test_an_address_can_be_invited_again_after_the_invitation_was_withdrawn(merchant, owner, open_invitation):
    team.withdraw(open_invitation)

    team.invite(merchant, open_invitation.email, Role.SUPPORT, actor=owner.user)


def test_accepting_an_invitation_gives_the_role(merchant, open_invitation, ada):
    member = team.accept(open_invitation, ada)

    assert (member.merchant, member.user, member.role) == (merchant, ada, Role.MANAGER)


def test_only_the_invited_user_can_accept(merchant, open_invitation):
    charlie = User.objects.create_user("charlie@example.com", "correct horse")

    with pytest.raises(team.NotInvited, match="This invitation is for ada@example.com."):
        team.accept(open_invitation, charlie)

    assert merchant.members.count() == 1


def test_an_invitation_can_be_accepted_only_once(merchant, open_invitation, ada):
    team.accept(open_invitation, ada)

    with pytest.raises(team.InvitationGone):
        team.accept(open_invitation, ada)


def test_an_existing_member_keeps_the_role(merchant, open_invitation, ada):
    Member.objects.create(merchant=merchant, user=ada, role=Role.OWNER)

    assert team.accept(open_invitation, ada).role == Role.OWNER


@pytest.mark.parametrize("days", [7, 8])
def test_an_invitation_expires_after_a_week(open_invitation, ada, days):
    make_older(open_invitation, days=days)

    with pytest.raises(team.InvitationGone):
        team.accept(open_invitation, ada)


def test_a_withdrawn_invitation_cannot_be_accepted(open_invitation, ada):
    team.withdraw(open_invitation)

    with pytest.raises(team.InvitationGone):
        team.accept(open_invitation, ada)
    with pytest.raises(team.InvitationGone):
        team.accept_as_new_user(open_invitation, "correct horse")


def test_an_accepted_invitation_cannot_be_withdrawn(open_invitation, ada):
    team.accept(open_invitation, ada)

    with pytest.raises(team.InvitationGone):
        team.withdraw(open_invitation)


def test_a_renewed_invitation_has_a_new_token_and_another_week(open_invitation):
    old_fingerprint = bytes(open_invitation.fingerprint)
    make_older(open_invitation, days=8)

    team.renew(open_invitation)

    assert bytes(open_invitation.fingerprint) != old_fingerprint
    assert open_invitation.expires_at > timezone.now() + timedelta(days=6)


def test_an_invitation_cannot_be_renewed_within_a_minute_of_sending(open_invitation):
    make_older(open_invitation, seconds=59)
    with pytest.raises(team.SentJustNow):
        team.renew(open_invitation)

    make_older(open_invitation, seconds=61)
    team.renew(open_invitation)


@pytest.mark.django_db(transaction=True)
def test_concurrent_clicks_create_one_account_and_one_membership(merchant, owner, in_threads):
    invitation, _ = team.invite(merchant, "ada@example.com", Role.MANAGER, actor=owner.user)

    def click(_):
        try:
            return team.accept_as_new_user(invitation, "correct horse", first_name="Ada")
        except team.InvitationGone as error:
            return error

    results = in_threads(click, range(4), threads=4)

    assert sum(isinstance(result, Member) for result in results) == 1
    assert User.objects.filter(email="ada@example.com").count() == 1


def test_the_last_owner_cannot_be_removed_or_demoted(owner):
    with pytest.raises(team.LastOwner):
        team.remove(owner)
    with pytest.raises(team.LastOwner):
        team.change_role(owner, Role.MANAGER)

    assert Member.objects.get().role == Role.OWNER


def test_the_last_owner_can_be_assigned_the_owner_role_again(owner):
    team.change_role(owner, Role.OWNER)

    assert Member.objects.get().role == Role.OWNER


def test_one_of_two_owners_can_be_removed(owner, bob):
    team.remove(bob)

    assert Member.objects.get() == owner


def test_an_owner_who_cannot_sign_in_does_not_count(owner, bob):
    User.objects.filter(pk=bob.user_id).update(is_active=False)

    with pytest.raises(team.LastOwner):
        team.remove(owner)


def test_other_members_can_be_removed_while_there_is_one_owner(owner, bob):
    team.change_role(bob, Role.SUPPORT)

    team.remove(bob)

    assert Member.objects.get() == owner


def test_owners_of_other_merchants_do_not_count(owner, outsider):
    with pytest.raises(team.LastOwner):
        team.remove(owner)


REMOVE_OR_DEMOTE = pytest.mark.parametrize(
    "remove_or_demote", [team.remove, lambda member: team.change_role(member, Role.SUPPORT)]
)


@REMOVE_OR_DEMOTE
@pytest.mark.django_db(transaction=True)
def test_the_last_two_owners_cannot_both_leave_concurrently(merchant, owner, bob, in_threads, remove_or_demote):
    def go(member):
        try:
            remove_or_demote(member)
        except team.LastOwner as error:
            return error

    results = in_threads(go, [owner, bob], threads=2)

    assert [type(result) for result in results].count(team.LastOwner) == 1
    assert merchant.members.filter(role=Role.OWNER).count() == 1


@REMOVE_OR_DEMOTE
@pytest.mark.django_db(transaction=True)
def test_removing_an_owner_waits_for_the_removal_of_another(merchant, owner, bob, remove_or_demote):
    errors = []

    def go():
        try:
            remove_or_demote(owner)
        except team.LastOwner as error:
            errors.append(error)
        finally:
            connection.close()

    second = threading.Thread(target=go)
    with transaction.atomic():
        remove_or_demote(bob)
        second.start()
        second.join(0.5)
        assert second.is_alive()
    second.join()

    assert errors
    assert merchant.members.get(role=Role.OWNER) == owner


def test_a_user_without_a_second_factor_cannot_require_one(merchant):
    with pytest.raises(team.NoSecondFactor):
        team.require_second_factor(merchant, True, has_one=False)

    merchant.refresh_from_db()
    assert not merchant.second_factor_required
