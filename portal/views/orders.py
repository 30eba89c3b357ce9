from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from portal.access import member_required


@member_required()
def order_list(request: HttpRequest) -> HttpResponse:
    return render(request, "portal/orders.html", {"section": "orders"})


@member_required()
def attention(request: HttpRequest) -> HttpResponse:
    return render(request, "portal/orders.html", {"section": "attention"})
