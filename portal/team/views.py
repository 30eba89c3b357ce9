import logging

from allauth.core.internal import ratelimit
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib import messages
from django.db.models import Exists, OuterRef
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from merchants import team as service
from merchants.models import Invitation, Member, Merchant
from merchants.team import TeamError
from outbound.mail import MailError, compose_plain, send_email
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.team.forms import InviteForm, RoleForm

log = logging.getLogger(__name__)

INVITATION_MAILS = {"invite": "3/h/key"}
MEMBERS = Member.objects.select_related("user")
INVITATIONS = Invitation.objects.open()


@member_required(Role.OWNER)
@require_safe
def team(request) -> HttpResponse:
    second_factors = Authenticator.objects.filter(user=OuterRef("user"))
    members = MEMBERS.filter(merchant=request.merchant).annotate(has_second_factor=Exists(second_factors))
    invitations = INVITATIONS.filter(merchant=request.merchant).select_related("merchant", "invited_by")
    context = {
        "section": "team",
        "members": members.order_by("user__first_name", "user__email"),
        "invitations": invitations.order_by("-created_at"),
        "has_second_factor": is_mfa_enabled(request.user),
    }
    return render(request, "portal/team/team.html", context)


@member_required(Role.OWNER)
@require_http_methods(["GET", "POST"])
def invite(request) -> HttpResponse:
    form = InviteForm(request.POST or None, initial={"role": Role.SUPPORT})
    if form.is_valid():
        try:
            invitation, token = service.invite(request.merchant, **form.cleaned_data, actor=request.user)
        except TeamError as error:
            form.add_error("email", str(error))
        else:
            send(request, invitation, token)
            return redirect("team")
    return render(request, "portal/team/invite.html", {"section": "team", "form": form})


@scoped(INVITATIONS, Role.OWNER)
@require_POST
def send_again(request, invitation: Invitation) -> HttpResponse:
    send(request, invitation, service.renew(invitation))
    return redirect("team")


def send(request, invitation: Invitation, token: str) -> None:
    # Whoever is invited did not ask for it, and several merchants may invite the same person.
    if not ratelimit.consume(request, app="portal", action="invite", config=INVITATION_MAILS, key=invitation.email):
        messages.error(
            request, f"{invitation.email} got three invitations within an hour. Please send it again later."
        )
        return
    url = settings.BASE_URL + reverse("open-invitation", args=[token])
    message = compose_plain("emails/invitation.txt", [invitation.email], {"invitation": invitation, "url": url})
    try:
        with send_email(message):
            invitation.sent_at = timezone.now()
            invitation.save(update_fields=["sent_at"])
    except MailError as error:
        log.warning("Invitation %s was not sent: %s", invitation.pk, error)
        messages.error(request, f"{invitation.email} is invited, but got no mail: {error} Please send it again.")
        return
    messages.success(request, f"Invitation sent to {invitation.email}. It stays in the list until it is accepted.")


@scoped(INVITATIONS, Role.OWNER)
@confirmed
def withdraw(request, invitation: Invitation) -> Confirmation:
    yield Question(
        title="Withdraw the invitation?",
        text=f"The link that was sent to {invitation.email} will not work any more.",
        button="Withdraw",
        danger=True,
        back="team",
    )
    service.withdraw(invitation)
    return f"The invitation of {invitation.email} is withdrawn."


@scoped(MEMBERS, Role.OWNER)
@confirmed
def change_role(request, member: Member) -> Confirmation:
    form = RoleForm(request.POST or None, initial={"role": member.role})
    question = Question(title=f"Role of {member.user}", form=form, button="Change role")
    yield question
    role = Role(form.cleaned_data["role"])
    try:
        service.change_role(member, role)
    except TeamError as error:
        form.add_error("role", str(error))
        yield question
    messages.success(request, f"{member.user} is now {role.label.lower()}.")
    return to_team(request, member, stays=role == Role.OWNER)


@scoped(MEMBERS, Role.OWNER)
@confirmed
def remove(request, member: Member) -> Confirmation:
    yield Question(
        title=f"Remove {member.user}?",
        text=f"This ends the access to {request.merchant} at once. What was done stays in the histories.",
        button="Remove",
        danger=True,
    )
    service.remove(member)
    messages.success(request, f"{member.user} is not a member of {request.merchant} any more.")
    return to_team(request, member, stays=False)


def to_team(request, member: Member, *, stays: bool) -> HttpResponse:
    """Back to the team, unless somebody has just taken the right to see it from oneself."""
    return redirect("team" if stays or member.user_id != request.user.pk else "home")


@member_required(Role.OWNER)
@confirmed
def second_factor(request, *, required: bool) -> Confirmation:
    yield ask_to_require(request.merchant) if required else REQUIRE_NO_LONGER
    try:
        service.require_second_factor(request.merchant, required, has_one=is_mfa_enabled(request.user))
    except TeamError as error:
        messages.error(request, str(error))
        return None
    return f"A second factor is {'now required' if required else 'required no longer'}."


def ask_to_require(merchant: Merchant) -> Question:
    without = merchant.members.exclude(user__in=Authenticator.objects.values("user")).count()
    return Question(
        title="Require a second factor of all members?",
        text=f"Members without one will be asked to set it up before they can go on. Now: {without}.",
        button="Require",
        back="team",
    )


REQUIRE_NO_LONGER = Question(
    title="Require a second factor no longer?",
    text="Members keep the one they have, and may remove it.",
    button="Require no longer",
    danger=True,
    back="team",
)
