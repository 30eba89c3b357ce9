from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.db.models import Exists, OuterRef
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from merchants import team as service
from merchants.models import Invitation, Member, Merchant
from merchants.team import TeamError
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.team.forms import InviteForm, RoleForm
from portal.team.invitations import send

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
def resend(request, invitation: Invitation) -> HttpResponse:
    send(request, invitation, service.renew(invitation))
    return redirect("team")


@scoped(INVITATIONS, Role.OWNER)
@confirmed
def withdraw(request, invitation: Invitation) -> Confirmation:
    yield Question(
        title=gettext("Withdraw invitation?"),
        text=gettext("The link sent to {email} will no longer work.").format(email=invitation.email),
        button=gettext("Withdraw invitation"),
        danger=True,
        back="team",
    )
    service.withdraw(invitation)
    return gettext("Invitation for {email} withdrawn.").format(email=invitation.email)


@scoped(MEMBERS, Role.OWNER)
@confirmed
def change_role(request, member: Member) -> Confirmation:
    form = RoleForm(request.POST or None, initial={"role": member.role})
    question = Question(
        title=gettext("Change role of {user}").format(user=member.user), form=form, button=gettext("Change role")
    )
    yield question
    role = Role(form.cleaned_data["role"])
    try:
        service.change_role(member, role)
    except TeamError as error:
        form.add_error("role", str(error))
        yield question
    messages.success(request, gettext("{user}’s role is now {role}.").format(user=member.user, role=role.label))
    return to_team(request, member, stays=role == Role.OWNER)


@scoped(MEMBERS, Role.OWNER)
@confirmed
def remove(request, member: Member) -> Confirmation:
    yield Question(
        title=gettext("Remove {user}?").format(user=member.user),
        text=gettext("They will lose access to {merchant} immediately. Histories keep their past actions.").format(
            merchant=request.merchant
        ),
        button=gettext("Remove member"),
        danger=True,
    )
    service.remove(member)
    messages.success(
        request,
        gettext("{user} is no longer a member of {merchant}.").format(user=member.user, merchant=request.merchant),
    )
    return to_team(request, member, stays=False)


def to_team(request, member: Member, *, stays: bool) -> HttpResponse:
    """Redirect to the team page, or home if the user just lost access to it."""
    return redirect("team" if stays or member.user_id != request.user.pk else "home")


@member_required(Role.OWNER)
@confirmed
def second_factor(request, *, required: bool) -> Confirmation:
    yield ask_to_require(request.merchant) if required else STOP_REQUIRING
    try:
        service.require_second_factor(request.merchant, required, has_one=is_mfa_enabled(request.user))
    except TeamError as error:
        messages.error(request, str(error))
        return None
    if required:
        return gettext("Two-factor authentication is now required.")
    return gettext("Two-factor authentication is no longer required.")


def ask_to_require(merchant: Merchant) -> Question:
    without = merchant.members.exclude(user__in=Authenticator.objects.values("user")).count()
    return Question(
        title=gettext("Require two-factor authentication?"),
        text=gettext("Members have to set it up before they can continue. Members without it: {without}.").format(
            without=without
        ),
        button=gettext("Require for everyone"),
        back="team",
    )


STOP_REQUIRING = Question(
    title=_("Stop requiring two-factor authentication?"),
    text=_("Members who set it up keep it and can turn it off."),
    button=_("Stop requiring"),
    danger=True,
    back="team",
)
