from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
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
        # Django leaves such a file out.
        form.add_error("file", "Choose a file of at most 64 MiB, please.")
    if form.is_bound and form.is_valid():
        content, fields = form.split()
        try:
            service.ask(request.merchant, content, actor=request.user, **fields)
        except SetupRefused as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Support has your request. You get an e-mail when it is set up or answered.")
            return redirect("setup")
    return render(request, "portal/setup/setup_add.html", {"section": "setup", "form": form})


@scoped(SetupRequest)
@confirmed
def withdraw(request, wanted: SetupRequest) -> Confirmation:
    yield Question(
        title="Withdraw the request?",
        text=f"“{wanted.pool_name}” will not be set up. The license file that came with the request is deleted.",
        button="Withdraw",
        danger=True,
        back="setup",
    )
    service.withdraw(wanted, actor=str(request.user))
    return "The request is withdrawn, and its license file deleted."
