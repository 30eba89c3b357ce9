from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from pools.models import UploadLink
from portal.access import Role, member_required
from portal.views.confirm import ask


@member_required(Role.MANAGER)
@require_http_methods(["GET", "POST"])
def end_upload_links(request, pk: int) -> HttpResponse:
    """Ends the links in a pool's notices before their time."""
    pool = get_object_or_404(request.merchant.pools, pk=pk)
    if request.method == "POST":
        UploadLink.objects.alive().filter(pool=pool).end()
        messages.success(request, f"The upload links of the pool “{pool}” are ended. The next notice has a new one.")
        return redirect("pool", pool.pk)

    return ask(
        request,
        title="End the upload links?",
        text=f"The links in e-mails about “{pool}” will not open any more. The next notice has a new one.",
        button="End them",
        danger=True,
        cancel=reverse("pool", args=[pool.pk]),
    )
