import re
from typing import Any

from django.contrib import messages
from django.core.mail import EmailMultiAlternatives
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from merchants.email_template import TAGS
from merchants.models import Logo
from outbound.mail import MailError, make_message_id, send_test_mail
from outbound.models import MailAccount
from portal.access import Role, member_required
from portal.confirm import Confirmation, Question, confirmed
from portal.emails.forms import EmailTextForm, SenderForm
from portal.emails.places import ORIGINS, Place, get_place, save
from portal.emails.versions import MAX_VERSIONS, get_version
from work.bodies import takes_files

# Previews are e-mails: they have inline styles, and no scripts or forms.
PREVIEW_POLICY = {
    "script-src": "'none'",
    "style-src": "'self' 'unsafe-inline'",
    "form-action": "'none'",
    "frame-ancestors": "'self'",
}
SCHEMES = {"light", "dark"}
BOTH_SCHEMES = re.compile(r"color-scheme: light dark")
IN_DARK_MODE = re.compile(r"\(prefers-color-scheme: dark\)")


@member_required(Role.MANAGER)
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request, scope: str, language: str) -> HttpResponse:
    place = get_place(request, scope, language)
    if request.method != "POST":
        return show_editor(request, place, EmailTextForm(initial=get_initial_texts(request, place)))

    form = EmailTextForm(request.POST)
    if not form.is_valid():
        return show_editor(request, place, form)
    if save(place, form.cleaned_data, actor=str(request.user)):
        messages.success(
            request,
            gettext("Saved. New e-mails use this text ({label}, {languages}).").format(
                label=place.label, languages=place.language_name
            ),
        )
    else:
        messages.info(request, gettext("No changes to save."))
    return redirect(place.url())


def get_initial_texts(request, place: Place) -> dict[str, str]:
    """Return the editor's initial text: the current one, an earlier version, or Keywell's default."""
    wanted = request.GET.get("version")
    return get_version(place, wanted).texts if wanted else place.editor_texts(place.current)


def get_preview(request, place: Place) -> str:
    version = request.GET.get("version")
    return place.url("email-preview", scheme="light", **({"version": version} if version else {}))


def show_editor(request, place: Place, form: EmailTextForm) -> HttpResponse:
    context = {"section": "emails", "place": place, "form": form, "origin": ORIGINS[place.origin]}
    context |= {"tags": TAGS, "versions": place.versions()[:MAX_VERSIONS], "preview": get_preview(request, place)}
    response = render(request, "portal/emails/email_text.html", context)
    response.content_security_policy = {"frame-src": "'self'"}  # type: ignore[attr-defined]
    return response


@member_required(Role.MANAGER)
@xframe_options_sameorigin
@require_http_methods(["GET", "HEAD", "POST"])
def preview(request, scope: str, language: str) -> HttpResponse:
    """Render the submitted text as a sample e-mail; without one, the editor's initial text."""
    place = get_place(request, scope, language)
    form = EmailTextForm(request.POST or get_initial_texts(request, place))
    scheme = request.POST.get("scheme") or request.GET.get("scheme", "")
    return show_preview(request, place.sample(form.cleaned_data) if form.is_valid() else None, scheme, form=form)


def show_preview(
    request: HttpRequest, mail: EmailMultiAlternatives | None, scheme: str = "", **context: Any
) -> HttpResponse:
    """Render an e-mail for an iframe; without one, the errors of the form in the context."""
    if mail:
        context |= {"mail": mail, "html": in_scheme(str(mail.alternatives[0][0]), scheme)}
    response = render(request, "portal/emails/email_preview.html", context)
    response.content_security_policy = PREVIEW_POLICY  # type: ignore[attr-defined]
    return response


def in_scheme(html: str, scheme: str) -> str:
    """Return the e-mail as mail programs show it in light or dark mode. By default, the browser's setting decides."""
    if scheme not in SCHEMES:
        return html
    before, tag, rest = html.partition("<style>")
    rest = BOTH_SCHEMES.sub(f"color-scheme: {scheme}", rest, count=1)
    return before + tag + IN_DARK_MODE.sub("all" if scheme == "dark" else "not all", rest, count=1)


@member_required(Role.MANAGER)
@require_POST
def send_test(request, scope: str, language: str) -> HttpResponse:
    """E-mail the editor's text, saved or not, to the user."""
    place = get_place(request, scope, language)
    form = EmailTextForm(request.POST)
    if form.is_valid():
        mail = place.sample(form.cleaned_data)
        mail.subject = f"[Test] {mail.subject}"
        mail.to = [request.user.email]
        mail.extra_headers["Message-ID"] = make_message_id()
        try:
            send_test_mail(mail, request.merchant, MailAccount.objects.for_merchant(request.merchant))
        except MailError as error:
            messages.error(request, gettext("The test e-mail wasn’t sent. {error}").format(error=error))
        else:
            messages.success(
                request,
                gettext("Test e-mail sent to {email}. Your changes aren’t saved yet.").format(
                    email=request.user.email
                ),
            )
    return show_editor(request, place, form)


@member_required(Role.MANAGER)
@confirmed
def reset(request, scope: str, language: str) -> Confirmation:
    place = get_place(request, scope, language)
    yield Question(
        title=gettext("Reset the text for {label}, {languages}?").format(
            label=place.label, languages=place.language_name
        ),
        text=gettext("Customers will get the general text again. Your own text stays in the list of versions."),
        button=gettext("Reset text"),
        danger=True,
        back=place.url(),
        section="emails",
    )
    if place.current.is_default:
        return None
    save(place, place.fallback(), actor=str(request.user))
    return gettext("Text reset. Your own text is still in the list of versions below.")


@takes_files
@member_required(Role.MANAGER)
@require_http_methods(["GET", "HEAD", "POST"])
def sender(request) -> HttpResponse:
    form = SenderForm(request.POST or None, request.FILES or None, instance=request.merchant)
    if form.is_valid():
        form.save_by(str(request.user))
        messages.success(request, gettext("Sender saved. New e-mails to customers use it."))
        return redirect("emails")
    context = {"section": "emails", "form": form, "logo": request.merchant.get_logo()}
    return render(request, "portal/emails/email_sender.html", context)


@require_safe
def logo(request: HttpRequest, digest: str) -> HttpResponse:
    logo = get_object_or_404(Logo.objects.order_by("pk"), digest=digest)
    response = HttpResponse(bytes(logo.image), content_type="image/png")
    response["Cache-Control"] = "public, max-age=31536000, immutable"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"  # for webmail
    return response
