"""One-use upload links: add keys to one pool, once, without signing in. No page shows a key.

The preview doesn't compare the upload with the stock. Otherwise, repeated previews could find keys by guessing. Only
the result of the one import says how many keys the merchant already had.
"""

from datetime import timedelta
from typing import Any

from django.core.signing import BadSignature, Signer
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_http_methods

from pools import uploads
from pools.forms import KeysForm
from pools.models import KeyImport, UploadLink
from pools.uploads import LinkExpired
from portal.customer.order import behind_a_link
from work.bodies import takes_files

IMPORT_SIGNER = Signer(salt="portal.upload_link.KeyImport", sep=".")
MAX_UPLOADS, THROTTLE_PERIOD = 20, timedelta(hours=1)
LINES_SHOWN = 20


@takes_files
@behind_a_link
@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest, token: str) -> HttpResponse:
    link = UploadLink.objects.with_token(token).select_related("pool__merchant").first()
    if link is None:
        return render_gone(status=404)
    if not UploadLink.objects.active().filter(pk=link.pk).exists():
        return render_gone()

    recent = link.imports.filter(uploaded_at__gt=Now() - THROTTLE_PERIOD)
    if request.method == "POST" and recent.count() >= MAX_UPLOADS:
        return page("upload/form.html", status=429, link=link, form=KeysForm(), is_limited=True)
    form = KeysForm(request.POST, request.FILES) if request.method == "POST" else KeysForm()
    if form.is_bound and form.is_valid():
        return redirect("upload-import", sign_import(begin_import(link, form)))
    # An empty form, so that pasted keys aren't shown again.
    return page("upload/form.html", link=link, form=KeysForm(), errors=form.non_field_errors())


def begin_import(link: UploadLink, form: KeysForm) -> KeyImport:
    """Begin an import through the link, and discard earlier ones that nobody confirmed."""
    for before in link.imports.filter(status__in=KeyImport.OPEN):
        uploads.discard(before)
    actor = gettext_noop("upload link of the notice of {date}").format(date=f"{link.created_at:%Y-%m-%d}")
    return uploads.begin(link.pool, actor=actor, link=link, **form.content())


def sign_import(key_import: KeyImport) -> str:
    return IMPORT_SIGNER.sign(str(key_import.pk))


@behind_a_link
@require_http_methods(["GET", "HEAD", "POST"])
def upload_import(request: HttpRequest, token: str) -> HttpResponse:
    """Show the preview of an upload and its result. POST imports or discards it."""
    try:
        pk = IMPORT_SIGNER.unsign(token)
    except BadSignature:
        return render_gone(status=404)
    link = UploadLink.objects.select_related("pool__merchant").get(imports=int(pk))
    key_import = link.imports.get(pk=pk)
    try:
        if request.method == "POST":
            return act(request, link, key_import)
        return show(link, key_import)
    except LinkExpired:
        return render_gone()


def act(request: HttpRequest, link: UploadLink, key_import: KeyImport) -> HttpResponse:
    if "import" in request.POST:
        try:
            uploads.confirm_by_link(key_import, link)
        except LinkExpired:
            # A second click continues to the result: the browser dropped the first response.
            if not link.imports.filter(pk=key_import.pk, confirmed_at__isnull=False).exists():
                raise
        return redirect(request.path)
    if changed := changed_reading(key_import, request.POST):
        uploads.read_again_by_link(key_import, link, changed)
        return redirect(request.path)
    if "discard" in request.POST:
        uploads.discard(key_import)
        return redirect("upload", link.token)
    return redirect(request.path)


def changed_reading(key_import: KeyImport, data: QueryDict) -> dict[str, Any]:
    """Return the chosen option for reading the file again; empty unless the page offered it."""
    offered = {str(candidate["column"]) for candidate in key_import.preview.get("candidates", [])}
    column = data.get("column", "")
    if isinstance(column, str) and column in offered:
        return {"column": int(column)}
    return {"spreadsheet": "fix"} if "fix" in data else {}


def show(link: UploadLink, key_import: KeyImport) -> HttpResponse:
    status = key_import.status
    active = UploadLink.objects.active().filter(pk=link.pk).exists()
    is_decided = key_import.confirmed_at or key_import.ended_at
    if link.has_expired or not (active or is_decided):
        raise LinkExpired
    return page(
        "upload/import.html",
        link=link,
        key_import=key_import,
        page_url=reverse("upload-import", args=[sign_import(key_import)]),
        is_under_way=status in (KeyImport.Status.READING, KeyImport.Status.IMPORTING),
        progress=uploads.get_progress(key_import),
        preview=key_import.preview,
        problems=list(key_import.preview.get("problems", {}).items())[:LINES_SHOWN],
        start_over=reverse("upload", args=[link.token]) if active else "",
    )


def render_gone(status: int = 410) -> HttpResponse:
    """The same page for used, expired and unknown links."""
    return page("upload/gone.html", status=status)


def page(template: str, *, status: int = 200, **context) -> HttpResponse:
    return HttpResponse(render_to_string(template, context | {"language": "en"}), status=status)
