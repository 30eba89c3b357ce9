import secrets
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from merchants.models import Invitation, Member, Merchant, User
from vault.fingerprints import fingerprint
from work.refusals import Refused

VALID_FOR = timedelta(days=7)
SEND_AGAIN_AFTER = timedelta(minutes=1)


class TeamError(Refused):
    """Says to an owner, or to who was invited, why something cannot be done."""

    code = "team_error"


class AlreadyMember(TeamError):
    code = "already_member"


class AlreadyInvited(TeamError):
    code = "already_invited"


class SentJustNow(TeamError):
    code = "sent_just_now"


class NotInvited(TeamError):
    code = "not_invited"


class InvitationGone(TeamError):
    code = "invitation_gone"


class LastOwner(TeamError):
    code = "last_owner"


class NoSecondFactor(TeamError):
    code = "no_second_factor"


def invite(merchant: Merchant, email: str, role: Member.Role, *, actor: User) -> tuple[Invitation, str]:
    """Invite an address. Returns the token of the link, too, which is kept nowhere else."""
    email = email.lower()
    if merchant.members.filter(user__email=email).exists():
        raise AlreadyMember(f"{email} is a member already.")

    token = secrets.token_urlsafe(32)
    try:
        with transaction.atomic():
            invitation = merchant.invitations.create(
                email=email,
                role=role,
                invited_by=actor,
                fingerprint=fingerprint(token),
                expires_at=timezone.now() + VALID_FOR,
            )
    except IntegrityError as error:
        raise AlreadyInvited(f"{email} is invited already. Send the invitation again, or withdraw it.") from error
    return invitation, token


def renew(invitation: Invitation) -> str:
    """Return a new token, good for another week. The link that was sent before ends."""
    token = secrets.token_urlsafe(32)
    before = timezone.now() - SEND_AGAIN_AFTER
    waiting = Invitation.objects.open().filter(pk=invitation.pk).exclude(sent_at__gt=before)
    if not waiting.update(fingerprint=fingerprint(token), expires_at=Now() + VALID_FOR, sent_at=None):
        invitation.refresh_from_db()
        if invitation.accepted_at or invitation.withdrawn_at:
            raise InvitationGone(f"The invitation of {invitation.email} is not open any more.")
        raise SentJustNow(f"The invitation was sent to {invitation.email} just now. Please wait a minute.")

    invitation.refresh_from_db()
    return token


def withdraw(invitation: Invitation) -> None:
    if not Invitation.objects.open().filter(pk=invitation.pk).update(withdrawn_at=Now()):
        raise InvitationGone(f"The invitation of {invitation.email} is not open any more.")


def accept(invitation: Invitation, user: User) -> Member:
    """Make a member of who was invited. Who is one already keeps the role."""
    if user.email != invitation.email:
        raise NotInvited(f"This invitation is for {invitation.email}.")

    with transaction.atomic():
        _use(invitation)
        member, _ = Member.objects.get_or_create(
            merchant=invitation.merchant, user=user, defaults={"role": invitation.role}
        )
    return member


def accept_as_new_user(invitation: Invitation, password: str, **name: str) -> Member:
    """Make an account for who was invited, and accept. The mail that was read proves the address."""
    try:
        with transaction.atomic():
            _use(invitation)
            user = User.objects.create_user(invitation.email, password, **name)
            return Member.objects.create(merchant=invitation.merchant, user=user, role=invitation.role)
    except IntegrityError as error:
        # Another merchant's invitation made the account meanwhile; this one is open still.
        raise InvitationGone("There is an account with this address now: sign in to accept.") from error


def _use(invitation: Invitation) -> None:
    if not Invitation.objects.current().filter(pk=invitation.pk).update(accepted_at=Now()):
        raise InvitationGone("This invitation was used, withdrawn or has expired.")


def change_role(member: Member, role: Member.Role) -> None:
    with transaction.atomic():
        if role != Member.Role.OWNER:
            _keep_an_owner(member)
        Member.objects.filter(pk=member.pk).update(role=role)


def remove(member: Member) -> None:
    with transaction.atomic():
        _keep_an_owner(member)
        member.delete()


def _keep_an_owner(member: Member) -> None:
    # Whoever makes owners fewer waits here for whoever does the same, and then finds those who are left.
    owners = Member.objects.filter(merchant=member.merchant_id, role=Member.Role.OWNER, user__is_active=True)
    left = {owner.pk for owner in owners.select_for_update(of=("self",)).order_by("pk")}
    if left == {member.pk}:
        raise LastOwner(f"{member.user} is the only owner. Make somebody else an owner first.")


def require_second_factor(merchant: Merchant, required: bool, *, has_one: bool) -> None:
    """Ask all members for a second factor, or none; `has_one` is whether who asks for it has one."""
    if required and not has_one:
        raise NoSecondFactor("Set up a second factor of your own first; otherwise this would lock you out.")
    merchant.second_factor_required = required
    merchant.save(update_fields=["second_factor_required"])
