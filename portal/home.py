from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from portal.access import Role, get_member
from portal.dashboard import dashboard


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Show the dashboard to owners and managers, and send others to the orders or the admin."""
    member = get_member(request)
    if member is None and request.user.is_staff:
        return redirect("admin:index")
    if member is not None and member.may(Role.MANAGER):
        return dashboard(request)
    return redirect("orders")
