"""The switch between live and test data, and the button that deletes test data."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from fulfillment.sandbox import delete_test_data
from merchants.sandbox import get_sandbox
from pools.sandbox import add_test_pools
from portal.access import Role, member_required, show_data
from portal.confirm import Confirmation, Question, confirmed

# Seconds for deleting while a person waits.
DELETE_TIMEOUT = 5


@member_required()
@require_POST
def show(request) -> HttpResponse:
    """Show test data if `test` was posted, otherwise live data."""
    merchant = request.merchant
    if "test" in request.POST:
        merchant = get_sandbox(merchant)
        add_test_pools(merchant)
    show_data(request, merchant)
    return redirect("home")


@member_required(Role.MANAGER)
@confirmed
def delete(request: HttpRequest) -> Confirmation:
    yield Question(
        title=gettext("Delete all test data?"),
        text=gettext(
            "We delete all test orders with their codes and e-mails, the keys of test pools, and the logs of test"
            " webhooks and requests. Test API keys and test webhook endpoints stay. Live data isn’t affected."
        ),
        button=gettext("Delete test data"),
        danger=True,
        back="home",
    )
    if delete_test_data(get_sandbox(request.merchant), timeout=DELETE_TIMEOUT):  # type: ignore[attr-defined]
        return gettext("Test data deleted.")
    messages.info(request, gettext("There is a lot of test data. We continue deleting it in the background."))
    return None
