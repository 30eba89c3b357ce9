from django import template
from django.template.defaulttags import CsrfTokenNode
from django.utils.html import format_html

from portal.access import SHOWN_MERCHANT, merchant_query

register = template.Library()


class FormOriginNode(CsrfTokenNode):
    """Django's token, and the merchant that the page is about if the user can switch to another."""

    def render(self, context):
        request = context.get("request")
        token = super().render(context)
        if not hasattr(request, "shown_merchant") or not merchant_query(request):
            return token
        return token + format_html(
            '<input type="hidden" name="{}" value="{}">', SHOWN_MERCHANT, request.shown_merchant.slug
        )


@register.tag
def csrf_token(parser, token):
    return FormOriginNode()
