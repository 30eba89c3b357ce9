from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Exists, OuterRef, Q
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from pools import uploads as service
from pools.forms import UploadForm
from pools.models import KeyBatch, KeyImport, LicenseKey, LicensePool
from pools.withdrawal import describe_withdrawal, withdraw_rest
from pools.withdrawal import undo as undo_batch
from portal.access import scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.paging import KeysetPage
from portal.pools.forms import ReadingForm, for_form
from portal.pools.views import for_pool
from work.bodies import takes_files

# Why lines are skipped.
KINDS = {
    "repeated": _("Repeated in the file. We import the first one."),
    "already_in_pool": _("Already imported into this pool."),
    "already_in_other_pools": _("In another of your pools."),
    "unusable": _("Not valid keys. See the reasons below."),
    "empty": _("Empty lines."),
}

for_import = scoped(
    KeyImport.objects.select_related("batch", "pool__merchant"), merchant="pool__merchant", pool="pk", pk="number"
)
for_batch = scoped(
    KeyBatch.objects.select_related("pool__merchant"), merchant="pool__merchant", pool="pk", pk="number"
)


@takes_files
@for_pool
@require_http_methods(["GET", "POST"])
def add(request, pool: LicensePool) -> HttpResponse:
    form = UploadForm(request.POST, request.FILES) if request.method == "POST" else UploadForm()
    if form.is_valid():
        return redirect(service.begin(pool, actor=str(request.user), **form.content()))
    return render(request, "portal/pools/import_form.html", {"section": "pools", "pool": pool, "form": form})


@for_import
@require_safe
def key_import(request, key_import: KeyImport) -> HttpResponse:
    return show(request, key_import)


@for_import
@require_POST
def read(request, key_import: KeyImport) -> HttpResponse:
    preview, sample = key_import.preview, service.take_sample(key_import)
    form = ReadingForm(request.POST, read_as=preview.get("read_as", {}), columns=sample.columns)
    if not form.is_valid():
        return show(request, key_import, form=form)
    service.read_again(key_import, form.options())
    return redirect(key_import)


@for_import
@require_POST
def confirm(request, key_import: KeyImport) -> HttpResponse:
    service.confirm(key_import, actor=str(request.user))
    return redirect(key_import)


@for_import
@confirmed
def discard(request, key_import: KeyImport) -> Confirmation:
    yield Question(
        title=gettext("Discard this import?"),
        text=gettext("We delete the upload and don’t import any of its keys."),
        button=gettext("Discard"),
        danger=True,
    )
    service.discard(key_import)
    return None


def show(request, key_import: KeyImport, form: ReadingForm | None = None) -> HttpResponse:
    preview = key_import.preview
    can_be_read_again = key_import.status in {KeyImport.Status.READY, KeyImport.Status.REFUSED} and key_import.size
    sample = service.take_sample(key_import) if can_be_read_again else service.ImportSample()
    initial = for_form(key_import.options)
    reading_form = ReadingForm(initial=initial, read_as=preview.get("read_as", {}), columns=sample.columns)
    context = {
        "section": "pools",
        "pool": key_import.pool,
        "key_import": key_import,
        "is_under_way": key_import.status in {KeyImport.Status.READING, KeyImport.Status.IMPORTING},
        "percent": service.get_progress(key_import),
        "left_out": left_out(preview),
        "bad_lines": preview.get("unusable", {}).get("count", 0),
        "problems": by_problem(preview),
        "read_as": preview.get("read_as"),
        "sample": sample,
        "options": initial,
        "form": (form or reading_form) if can_be_read_again else None,
    }
    return render(request, "portal/pools/import.html", context)


def left_out(preview: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = ((gettext(kind.replace("_", " ")), reason, preview.get(kind) or {}) for kind, reason in KINDS.items())
    return [
        {
            "kind": kind,
            "reason": reason,
            **lines,
            "more": lines["count"] - len(lines["numbers"]),
        }
        for kind, reason, lines in kinds
        if lines.get("count")
    ]


def by_problem(preview: dict[str, Any]) -> list[tuple[str, list[int]]]:
    found: dict[str, list[int]] = {}
    for line, problem in preview.get("problems", {}).items():
        found.setdefault(problem, []).append(int(line))
    return [(problem, sorted(lines)) for problem, lines in found.items()]


@for_pool
@require_safe
def batches(request, pool: LicensePool) -> HttpResponse:
    gone = LicenseKey.objects.filter(Q(item__isnull=False) | Q(withdrawn_at__isnull=False), batch=OuterRef("pk"))
    rows = pool.batches.select_related("key_import").annotate(was_touched=Exists(gone))
    context = {
        "section": "pools",
        "pool": pool,
        "open_imports": pool.imports.filter(status__in=KeyImport.OPEN).order_by("-pk"),
        "page": KeysetPage(rows, "imported_at", **{name: request.GET.get(name, "") for name in ("before", "after")}),
    }
    return render(request, "portal/pools/batches.html", context)


@for_batch
@confirmed
def undo(request, batch: KeyBatch) -> Confirmation:
    yield Question(
        title=gettext("Undo this import?"),
        text=ngettext(
            "We remove its {count} key from the pool. You can import it again.",
            "We remove its {count} keys from the pool. You can import them again.",
            batch.key_count,
        ).format(count=intcomma(batch.key_count)),
        button=gettext("Undo import"),
        danger=True,
    )
    undo_batch(batch, actor=str(request.user))
    return ngettext(
        "Import undone. Its {count} key was removed from the pool.",
        "Import undone. Its {count} keys were removed from the pool.",
        batch.key_count,
    ).format(count=intcomma(batch.key_count))


@for_batch
@confirmed
def withdraw(request, batch: KeyBatch) -> Confirmation:
    left = batch.keys.in_stock().count()
    yield Question(
        title=gettext("Withdraw the rest of this batch?"),
        text=gettext(
            "{left} of its {key_count} keys are in stock. They will never be issued and can’t be imported"
            " into this pool again. You can’t undo this."
        ).format(left=intcomma(left), key_count=intcomma(batch.key_count)),
        button=gettext("Withdraw keys"),
        danger=True,
    )
    count = withdraw_rest(batch, actor=str(request.user))
    return describe_withdrawal(count)
