import logging

from allauth.core.internal import ratelimit
from django.contrib import messages
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from merchants.languages import offered
from merchants.models import Invitation, Member, User
from merchants.team import InvitationGone, accept, accept_as_new_user
from notices.invitations import send_invitation
from outbound.mail import MailError
from portal.team.forms import NewAccountForm
from vault.fingerprints import fingerprint

log = logging.getLogger(__name__)

INVITATION_LIMIT = {"invite": "3/h/key"}


def send(request: HttpRequest, invitation: Invitation, token: str) -> bool:
    """E-mail the invitation and show a message about it. Return whether it was sent."""
    # Protects people from unwanted e-mails. The limit applies across all merchants.
    if not ratelimit.consume(request, app="portal", action="invite", config=INVITATION_LIMIT, key=invitation.email):
        messages.error(
            request,
            gettext("{email} got three invitations within an hour. Please try again later.").format(
                email=invitation.email
            ),
        )
        return False
    try:
        send_invitation(invitation, token)
    except MailError as error:
        log.warning("Couldn't send invitation %s: %s", invitation.pk, error)
        messages.error(
            request,
            gettext("{email} is invited, but the e-mail failed. {error} Please resend it.").format(
                email=invitation.email, error=error
            ),
        )
        return False
    messages.success(request, gettext("Invitation sent to {email}.").format(email=invitation.email))
    return True


@never_cache
@require_safe
def open_invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Move the token from the URL to the session, to keep it out of logs, referrers and `?next=`."""
    request.session["invitation"] = fingerprint(token).hex()
    response = redirect("invitation")
    response["Referrer-Policy"] = "no-referrer"
    return response


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest) -> HttpResponse:
    """Accept the opened invitation, after signing in or creating an account."""
    opened = bytes.fromhex(request.session.get("invitation", ""))
    invitation = Invitation.objects.filter(fingerprint=opened).select_related("merchant", "invited_by").first()
    if invitation is None:
        return render(request, "portal/team/invitation_gone.html", status=404)
    if not Invitation.objects.current().filter(pk=invitation.pk).exists():
        return render(request, "portal/team/invitation_gone.html", {"invitation": invitation}, status=410)
    try:
        return create_account(request, invitation) if request.user.is_anonymous else join(request, invitation)
    except InvitationGone:
        return redirect("invitation")


def join(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    if request.method != "POST":
        return render(request, "portal/team/invitation.html", {"invitation": invitation})
    if request.user.email == invitation.email:  # type: ignore[union-attr]
        return welcome(request, accept(invitation, request.user))  # type: ignore[arg-type]
    opened = request.session["invitation"]
    logout(request)
    request.session["invitation"] = opened
    return redirect("invitation")


def create_account(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    if User.objects.filter(email=invitation.email).exists():
        return render(request, "portal/team/invitation.html", {"invitation": invitation})
    form = NewAccountForm(request.POST or None, instance=User(email=invitation.email))
    if not form.is_valid():
        return render(request, "portal/team/invitation.html", {"invitation": invitation, "form": form})
    member = accept_as_new_user(invitation, **form.cleaned_data)
    login(request, member.user)
    return welcome(request, member)


def welcome(request: HttpRequest, member: Member) -> HttpResponse:
    del request.session["invitation"]
    request.session["merchant"] = member.merchant.slug
    # The next page is in the member's own language.
    chosen = member.user.language
    with translation.override(offered(chosen) if chosen else translation.get_language()):
        text = gettext("Welcome to {merchant}! Your role: {role}.")
        text = text.format(role=member.get_role_display(), merchant=member.merchant)
    messages.success(request, text)
    return redirect("home")
