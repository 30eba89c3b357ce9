from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from portal.access import get_member


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Lead everybody to where they work."""
    if get_member(request) is None and request.user.is_staff:
        return redirect("admin:index")
    return redirect("orders")
