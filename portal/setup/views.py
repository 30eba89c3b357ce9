from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods, require_safe

from fulfillment import setup as service
from fulfillment.models import SetupRequest
from fulfillment.setup import SetupRefused
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.setup.forms import SetupForm
from work.bodies import takes_files

SHOWN = 20


@member_required(Role.MANAGER)
@require_safe
def setup(request) -> HttpResponse:
    requests = request.merchant.setup_requests.prefetch_related("events").order_by("-pk")[:SHOWN]
    return render(request, "portal/setup/setup.html", {"section": "setup", "requests": requests})


@takes_files
@member_required(Role.MANAGER)
@require_http_methods(["GET", "POST"])
def add(request) -> HttpResponse:
    form = SetupForm(request.POST, request.FILES) if request.method == "POST" else SetupForm()
    if form.is_bound and int(request.META.get("CONTENT_LENGTH") or 0) > settings.FILE_UPLOAD_MAX_MEMORY_SIZE:
        # Django drops a file this large.
        form.add_error("file", gettext("Choose a file of at most 64 MiB."))
    if form.is_bound and form.is_valid():
        content, fields = form.split()
        try:
            service.submit(request.merchant, content, actor=request.user, **fields)
        except SetupRefused as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, gettext("Request sent. We’ll e-mail you when it’s set up or answered."))
            return redirect("setup")
    return render(request, "portal/setup/setup_add.html", {"section": "setup", "form": form})


@scoped(SetupRequest)
@confirmed
def withdraw(request, wanted: SetupRequest) -> Confirmation:
    yield Question(
        title=gettext("Withdraw the request?"),
        text=gettext("We won’t set up “{pool_name}”, and the request’s license file will be deleted.").format(
            pool_name=wanted.pool_name
        ),
        button=gettext("Withdraw request"),
        danger=True,
        back="setup",
    )
    service.withdraw(wanted, actor=str(request.user))
    return gettext("Request withdrawn and its license file deleted.")
