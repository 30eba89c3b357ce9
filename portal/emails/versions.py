"""Earlier versions of an e-mail text, side by side."""

from dataclasses import dataclass
from functools import cached_property

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext
from django.views.decorators.http import require_safe

from merchants.models import EmailTemplate
from portal.access import Role, member_required
from portal.confirm import Confirmation, Question, confirmed
from portal.emails.comparison import compare_texts
from portal.emails.places import Place, get_place, save

MAX_VERSIONS = 50
DEFAULT = "default"  # in URLs


@dataclass(frozen=True)
class Version:
    """A saved text, or Keywell's default."""

    place: Place
    template: EmailTemplate | None

    @property
    def key(self) -> str:
        return str(self.template.pk) if self.template else DEFAULT

    @property
    def name(self) -> str:
        if not self.template:
            return gettext("Keywell’s default")
        return date_format(localtime(self.template.saved_at), "DATETIME_FORMAT")

    @cached_property
    def texts(self) -> dict[str, str]:
        return self.place.editor_texts(self.template) if self.template else self.place.default()

    @property
    def is_current(self) -> bool:
        return self.template is not None and self.template.pk == self.place.current.pk

    @property
    def preview(self) -> str:
        return self.place.url("email-preview", version=self.key)

    @property
    def restore(self) -> str:
        return self.place.url("email-restore", self.key)

    def before(self) -> "Version":
        earlier = self.template and self.place.versions().filter(pk__lt=self.template.pk).first()
        return Version(self.place, earlier or None)


def get_version(place: Place, key: str) -> Version:
    """Return a version of this text. Raise Http404 for versions of other texts."""
    if key == DEFAULT:
        return Version(place, None)
    if not key.isdecimal() or len(key) > 18:
        raise Http404(gettext("Unknown version."))
    return Version(place, get_object_or_404(place.versions(), pk=int(key)))


@member_required(Role.MANAGER)
@require_safe
def compare(request, scope: str, language: str) -> HttpResponse:
    """Show two versions, by default the current one and the one before it."""
    place = get_place(request, scope, language)
    newest = [Version(place, template) for template in place.versions()[:MAX_VERSIONS]]
    default = Version(place, None)
    new = get_version(place, request.GET["new"]) if request.GET.get("new") else (newest or [default])[0]
    old = get_version(place, request.GET["old"]) if request.GET.get("old") else new.before()
    subject, body = (compare_texts(old.texts[name], new.texts[name]) for name in ("subject", "body"))
    choices = {version.key: version for version in [*newest, old, new, default]}
    context = {
        "section": "emails",
        "place": place,
        "old": old,
        "new": new,
        "sides": [(old, subject.old, body.old), (new, subject.new, body.new)],
        "choices": choices.values(),
        "removed": subject.removed + body.removed,
        "added": subject.added + body.added,
        "is_equal": subject.is_equal and body.is_equal,
    }
    response = render(request, "portal/emails/versions.html", context)
    response.content_security_policy = {"frame-src": "'self'"}  # type: ignore[attr-defined]
    return response


@member_required(Role.MANAGER)
@confirmed
def restore(request, scope: str, language: str, version: str) -> Confirmation:
    place = get_place(request, scope, language)
    chosen = get_version(place, version)
    yield Question(
        title=gettext("Restore this version for {label}, {language}?").format(
            label=place.label, language=place.language_name
        ),
        text=gettext("New e-mails will use it. The current text stays in the list of versions."),
        button=gettext("Restore version"),
        back=place.url("email-versions", old=version),
        then=place.url(),
        section="emails",
    )
    if not save(place, chosen.texts, actor=str(request.user)):
        messages.info(request, gettext("Customers already get this text. There is nothing to restore."))
        return redirect(place.url())
    return gettext("Version restored. New e-mails use it ({label}, {language}).").format(
        label=place.label, language=place.language_name
    )
