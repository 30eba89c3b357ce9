import secrets
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext

from merchants.models import Invitation, Member, Merchant, User
from vault.fingerprints import fingerprint
from work.refusals import Refused

INVITATION_LIFETIME = timedelta(days=7)
RESEND_INTERVAL = timedelta(minutes=1)


class TeamError(Refused):
    """The message is shown to an owner or to the invited person."""

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


def invite(merchant: Merchant, email: str, role: Member.Role, *, actor: User | None) -> tuple[Invitation, str]:
    """Create an invitation. Also returns the token for its link, which isn't stored."""
    email = email.lower()
    if merchant.members.filter(user__email=email).exists():
        raise AlreadyMember(gettext("{email} is already a member.").format(email=email))

    token = secrets.token_urlsafe(32)
    try:
        with transaction.atomic():
            invitation = merchant.invitations.create(
                email=email,
                role=role,
                invited_by=actor,
                fingerprint=fingerprint(token),
                expires_at=timezone.now() + INVITATION_LIFETIME,
            )
    except IntegrityError as error:
        raise AlreadyInvited(
            gettext("{email} has already been invited. Resend the invitation or withdraw it.").format(email=email)
        ) from error
    return invitation, token


def renew(invitation: Invitation) -> str:
    """Return a new token that is valid for another week. The previous link stops working."""
    token = secrets.token_urlsafe(32)
    before = timezone.now() - RESEND_INTERVAL
    waiting = Invitation.objects.open().filter(pk=invitation.pk).exclude(sent_at__gt=before)
    if not waiting.update(fingerprint=fingerprint(token), expires_at=Now() + INVITATION_LIFETIME, sent_at=None):
        invitation.refresh_from_db()
        if invitation.accepted_at or invitation.withdrawn_at:
            raise InvitationGone(
                gettext("The invitation of {email} is no longer open.").format(email=invitation.email)
            )
        raise SentJustNow(
            gettext("An invitation was just sent to {email}. Wait a minute before resending it.").format(
                email=invitation.email
            )
        )

    invitation.refresh_from_db()
    return token


def withdraw(invitation: Invitation) -> None:
    if not Invitation.objects.open().filter(pk=invitation.pk).update(withdrawn_at=Now()):
        raise InvitationGone(gettext("The invitation of {email} is no longer open.").format(email=invitation.email))


def accept(invitation: Invitation, user: User) -> Member:
    """Make the invited user a member. An existing member keeps their role."""
    if user.email != invitation.email:
        raise NotInvited(gettext("This invitation is for {email}.").format(email=invitation.email))

    with transaction.atomic():
        _use(invitation)
        member, _ = Member.objects.get_or_create(
            merchant=invitation.merchant, user=user, defaults={"role": invitation.role}
        )
    return member


def accept_as_new_user(invitation: Invitation, password: str, **name: str) -> Member:
    """Create an account for the invited person and accept. Having the link proves that they own the address."""
    try:
        with transaction.atomic():
            _use(invitation)
            language = invitation.merchant.language  # as in the invitation
            user = User.objects.create_user(invitation.email, password, language=language, **name)
            return Member.objects.create(merchant=invitation.merchant, user=user, role=invitation.role)
    except IntegrityError as error:
        # Accepting another merchant's invitation created the account just now. This one is still open.
        raise InvitationGone(gettext("An account with this address already exists. Sign in to accept.")) from error


def _use(invitation: Invitation) -> None:
    if not Invitation.objects.current().filter(pk=invitation.pk).update(accepted_at=Now()):
        raise InvitationGone(gettext("This invitation has been used, was withdrawn or has expired."))


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
    # Serializes removals and demotions of owners, so that two of them can't remove the last two owners.
    owners = Member.objects.filter(merchant=member.merchant_id, role=Member.Role.OWNER, user__is_active=True)
    left = {owner.pk for owner in owners.select_for_update(of=("self",)).order_by("pk")}
    if left == {member.pk}:
        raise LastOwner(
            gettext("{user} is the only owner. Make someone else an owner first.").format(user=member.user)
        )


def require_second_factor(merchant: Merchant, required: bool, *, has_one: bool) -> None:
    """Require a second factor of all members, or stop requiring it. `has_one`: the current user has one."""
    if required and not has_one:
        raise NoSecondFactor(gettext("Set up your own second factor first, or you’ll lock yourself out."))
    merchant.second_factor_required = required
    merchant.save(update_fields=["second_factor_required"])
