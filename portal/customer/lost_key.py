from allauth.account.adapter import get_adapter
from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import get_language_from_request, gettext_lazy
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from delivery.link_requests import request_mail
from merchants.models import Merchant
from orders.fields import EmailFormField
from portal.customer.order import chosen_language


class LostLicensesForm(forms.Form):
    email = EmailFormField(
        label=gettext_lazy("E-mail address"), max_length=254, widget=forms.TextInput(attrs={"autocomplete": "email"})
    )


# No CSRF check: anybody may submit this form, and nothing depends on a session or cookie.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def lost_key(request: HttpRequest, slug: str) -> HttpResponse:
    """E-mail a customer the links to their orders. The response is the same whether there are any or not."""
    merchant = get_object_or_404(Merchant, slug=slug)
    language = chosen_language(request) or get_language_from_request(request)
    form = LostLicensesForm(request.POST or None)
    with translation.override(language):
        is_requested = form.is_valid()
        if is_requested:
            source = get_adapter().get_client_ip(request)
            request_mail(merchant, form.cleaned_data["email"], language=language, source=source)
        context = {
            "merchant": merchant,
            "form": form,
            "is_requested": is_requested,
            "page_url": f"{request.path}?language={language}",
            "language": language,
            "languages": [(code, name, f"{request.path}?language={code}") for code, name in settings.LANGUAGES],
        }
        return HttpResponse(render_to_string("customer/lost_key.html", context))
