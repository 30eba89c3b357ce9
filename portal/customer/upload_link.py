"""What the holder of a one-use upload link does: fill one pool once, without signing in, and read no key.

What is uploaded is not compared with the stock before it is imported: whoever could ask that again and again could
find keys by guessing. So only the result, of which there is one, says how many the merchant had already.
"""

from datetime import timedelta
from typing import Any

from django.core.signing import BadSignature, Signer
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from pools import uploads
from pools.forms import KeysForm
from pools.models import KeyImport, UploadLink
from pools.uploads import LinkExpired
from portal.customer.order import behind_a_link
from work.bodies import takes_files

IMPORT_SIGNER = Signer(salt="portal.upload_link.KeyImport", sep=".")
UPLOADS_AT_MOST, UPLOADS_PERIOD = 20, timedelta(hours=1)
LINES_SHOWN = 20


@takes_files
@behind_a_link
@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest, token: str) -> HttpResponse:
    link = UploadLink.objects.with_token(token).select_related("pool__merchant").first()
    if link is None:
        return dead(status=404)
    if not UploadLink.objects.active().filter(pk=link.pk).exists():
        return dead()

    lately = link.imports.filter(uploaded_at__gt=Now() - UPLOADS_PERIOD)
    if request.method == "POST" and lately.count() >= UPLOADS_AT_MOST:
        return page("upload/form.html", status=429, link=link, form=KeysForm(), is_limited=True)
    form = KeysForm(request.POST, request.FILES) if request.method == "POST" else KeysForm()
    if form.is_bound and form.is_valid():
        return redirect("upload-import", token_of(take_in(link, form)))
    # A new form: what was pasted is not shown again.
    return page("upload/form.html", link=link, form=KeysForm(), errors=form.non_field_errors())


def take_in(link: UploadLink, form: KeysForm) -> KeyImport:
    """Begin an import by the link. An earlier one that nobody said yes to gives way."""
    for before in link.imports.filter(status__in=KeyImport.OPEN):
        uploads.discard(before)
    actor = f"upload link of the notice of {link.created_at:%-d %b %Y}"
    return uploads.begin(link.pool, actor=actor, link=link, **form.content())


def token_of(key_import: KeyImport) -> str:
    return IMPORT_SIGNER.sign(str(key_import.pk))


@behind_a_link
@require_http_methods(["GET", "HEAD", "POST"])
def upload_import(request: HttpRequest, token: str) -> HttpResponse:
    """Shows who uploaded what was found, and then what came of it; imports it when told to."""
    try:
        pk = IMPORT_SIGNER.unsign(token)
    except BadSignature:
        return dead(status=404)
    link = UploadLink.objects.select_related("pool__merchant").get(imports=int(pk))
    key_import = link.imports.get(pk=pk)
    try:
        if request.method == "POST":
            return act(request, link, key_import)
        return show(link, key_import)
    except LinkExpired:
        return dead()


def act(request: HttpRequest, link: UploadLink, key_import: KeyImport) -> HttpResponse:
    if "import" in request.POST:
        try:
            uploads.confirm_by_link(key_import, link)
        except LinkExpired:
            # A second click: the first one is answered to nobody.
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
    """The way of reading that was chosen of those that the page offers."""
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
        here=reverse("upload-import", args=[token_of(key_import)]),
        is_under_way=status in (KeyImport.Status.READING, KeyImport.Status.IMPORTING),
        progress=uploads.get_progress(key_import),
        preview=key_import.preview,
        problems=list(key_import.preview.get("problems", {}).items())[:LINES_SHOWN],
        start_over=reverse("upload", args=[link.token]) if active else "",
    )


def dead(status: int = 410) -> HttpResponse:
    """The one answer to all links that were used, have ended or never were."""
    return page("upload/gone.html", status=status)


def page(template: str, *, status: int = 200, **context) -> HttpResponse:
    return HttpResponse(render_to_string(template, context | {"language": "en"}), status=status)
