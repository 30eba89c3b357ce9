from datetime import UTC, datetime, time
from functools import partial
from math import ceil
from typing import Any

from django.contrib import messages
from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from fulfillment import actions
from fulfillment.actions import RetryRefused
from fulfillment.models import Fulfillment
from fulfillment.product_sources import remove_place
from fulfillment.sources.web_service import console
from fulfillment.sources.web_service.client import WebServiceError
from fulfillment.sources.web_service.models import RequestParameter, WebService, WebServiceMethod
from fulfillment.sources.web_service.parameters import ParametersRefused, add_service, set_parameters
from merchants.models import Product
from orders.models import OrderItem
from outbound.breaker import probe_now
from portal.access import Role, member_required, scoped
from portal.confirm import Confirmation, Question, confirmed
from portal.request_log import read_log
from portal.saving import save_once
from portal.web_services.forms import WebServiceForm
from portal.web_services.parameters_form import ParametersForm

# The number of requests behind the page's p95.
P95_SAMPLE_SIZE = 200
PRODUCTS_SHOWN = 20

for_service = scoped(WebService)


@never_cache
@member_required(Role.MANAGER)
@require_safe
def web_services(request) -> HttpResponse:
    methods = WebServiceMethod.objects.select_related("product").order_by("product__name")
    rows = request.merchant.web_services.with_failed()
    rows = rows.prefetch_related(Prefetch("fulfillment_methods", methods))
    return render(request, "portal/web_services/web_services.html", {"section": "web-services", "services": rows})


@member_required(Role.MANAGER)
@require_http_methods(["GET", "POST"])
def add(request) -> HttpResponse:
    new = WebService(merchant=request.merchant, secret=WebService.make_secret())
    form = WebServiceForm(request.POST or None, instance=new)
    if form.is_valid() and save_once(form, partial(add_service, new)):
        messages.success(request, gettext("Web service added. Now choose what it receives."))
        return redirect("web-service-parameters", new.pk)
    return show_form(request, form, gettext("Add web service"), reverse("web-services"))


@for_service
@require_http_methods(["GET", "POST"])
def change(request, service: WebService) -> HttpResponse:
    form = WebServiceForm(request.POST or None, instance=service)
    if form.is_valid() and save_once(form, partial(service.save, update_fields=[*form.Meta.fields, "password"])):
        # The change may have fixed it.
        probe_now(service)
        Fulfillment.objects.ask_again(service)
        messages.success(request, gettext("Web service changed. Waiting orders will be retried now."))
        return redirect(service)
    return show_form(request, form, gettext("Edit web service"), service.get_absolute_url())


def show_form(request, form: WebServiceForm, title: str, cancel: str) -> HttpResponse:
    context = {"section": "web-services", "form": form, "title": title, "cancel": cancel}
    return render(request, "portal/web_services/web_service_form.html", context)


@for_service
@require_http_methods(["GET", "POST"])
def parameters(request, service: WebService) -> HttpResponse:
    posted = request.POST if request.method == "POST" else None
    # Of htmx's requests, only the buttons say what to do. The others are for the preview.
    do = posted.get("do", "show" if request.htmx else "") if posted is not None else ""
    form = ParametersForm(service, posted, do)
    if posted is not None and not form.is_draft and form.is_valid():
        try:
            set_parameters(service, form.wanted())
        except ParametersRefused as error:
            messages.error(request, str(error))
            return redirect("web-service-parameters", service.pk)
        messages.success(request, gettext("Parameters saved. Now send a test to see how your service answers."))
        return redirect("web-service-console", service.pk)
    context = {"section": "web-services", "service": service, "form": form, **preview(service, form.wanted())}
    return render(request, "portal/web_services/web_service_parameters.html", context)


def preview(service: WebService, parameters: list[RequestParameter] | None = None) -> dict[str, Any]:
    """The request with sample data that the console would send, for a template; or why it can’t be sent."""
    try:
        return {"shown": console.show(service, console.sample(service), parameters=parameters)}
    except WebServiceError as error:
        return {"refused": str(error)}


# Details


@for_service
@require_safe
def web_service(request, service: WebService) -> HttpResponse:
    return show(request, service)


@for_service
@require_POST
def reveal_secret(request, service: WebService) -> HttpResponse:
    return show(request, service, secret=service.secret)


def show(request, service: WebService, secret: str = "") -> HttpResponse:
    products = Product.objects.filter(fulfillment_methods__in=service.fulfillment_methods.all()).order_by("name")
    context = {
        "section": "web-services",
        "service": service,
        "secret": secret,
        "products": products[:PRODUCTS_SHOWN],
        **read_log(service, request.GET),
        "failed": Fulfillment.objects.count_failed(service),
        **preview(service),
        **count_calls(service),
    }
    return render(request, "portal/web_services/web_service.html", context)


def count_calls(service: WebService) -> dict[str, Any]:
    """Count today's requests (UTC), and measure the 95th percentile of recent durations in ms. Excludes tests."""
    midnight = datetime.combine(timezone.now().astimezone(UTC).date(), time.min, UTC)
    calls = service.outgoing_requests.filter(is_test=False)
    last = calls.exclude(milliseconds=None).order_by("-called_at", "-pk")
    took = sorted(last.values_list("milliseconds", flat=True)[:P95_SAMPLE_SIZE])  # type: ignore[type-var]
    return {
        "today": calls.filter(called_at__gte=midnight).count(),
        "p95": took[ceil(len(took) * 0.95) - 1] if took else None,
        "timed": len(took),
    }


@for_service
@require_safe
def outgoing_request(request, service: WebService, request_pk: int) -> HttpResponse:
    row = get_object_or_404(
        service.outgoing_requests.select_related("item__order", "item__fulfillment"), pk=request_pk
    )
    context = {"section": "web-services", "upstream": service, "outgoing_request": row}
    return render(request, "portal/web_services/outgoing_request.html", context)


# Actions


@for_service
@confirmed
def rotate(request, service: WebService) -> Confirmation:
    yield Question(
        title=gettext("Rotate the signing secret?"),
        text=gettext(
            "We sign requests with both the old and the new secret for 24 hours. Give your web service the new one"
            " within that time. If a rotation is already in progress, the oldest secret stops working immediately."
        ),
        button=gettext("Rotate secret"),
        danger=True,
    )
    service.rotate()
    return gettext("Secret rotated. The old secret also works for 24 hours.")


@for_service
@confirmed
def delete(request, service: WebService) -> Confirmation:
    yield Question(
        title=gettext("Delete the web service?"),
        text=gettext(
            "Keywell will stop requesting codes from “{service}”. Its settings, log and secret will be deleted."
        ).format(service=service),
        button=gettext("Delete web service"),
        danger=True,
        then="web-services",
    )
    remove_place(service)
    return gettext("Web service “{service}” deleted.").format(service=service)


@for_service
@confirmed
def retry_failed(request, service: WebService) -> Confirmation:
    failed = Fulfillment.objects.count_failed(service)
    yield Question(
        title=gettext("Retry all failed?"),
        text=gettext(
            "We’ll request codes from “{service}” again for the failed items of paid orders ({failed}). Each request"
            " repeats its Idempotency-Key, so your service won’t issue a second license."
        ).format(service=service, failed=intcomma(failed)),
        button=gettext("Retry all"),
    )
    count = actions.retry_failed(service, actor=str(request.user))
    return ngettext(
        "{count} item will be retried, oldest payment first.",
        "{count} items will be retried, oldest payment first.",
        count,
    ).format(count=intcomma(count))


@for_service
@confirmed
def send_again(request, service: WebService, request_pk: int) -> Confirmation:
    row = get_object_or_404(service.outgoing_requests.filter(is_test=False), pk=request_pk)
    item = get_object_or_404(OrderItem.objects.select_related("order", "product", "fulfillment"), pk=row.item_id)
    yield Question(
        title=gettext("Send again?"),
        text=gettext(
            "We’ll ask “{service}” again for the missing codes of {name} in order {number},"
            " with the same Idempotency-Key."
        ).format(service=service, name=item.product.name, number=item.order.number),
        button=gettext("Send again"),
    )
    if item.fulfillment.status != Fulfillment.Status.FAILED:
        raise RetryRefused(
            gettext("Can’t send again: the item is {status}, not failed.").format(
                status=gettext(item.fulfillment.status)
            )
        )
    actions.retry(item, actor=str(request.user))
    return gettext("Order {number} will be retried within seconds.").format(number=item.order.number)
