from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from portal.access import Role, member_required


@member_required(Role.OWNER)
def team(request: HttpRequest) -> HttpResponse:
    return render(request, "portal/team.html", {"section": "team"})
