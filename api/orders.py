from collections.abc import Mapping
from typing import Any, cast

from django.db.models import prefetch_related_objects
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import generics, serializers, status
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.order_serializers import FOR_DISPLAY, OrderSerializer
from api.paging import Pages
from api.schema import problems
from delivery.models import Delivery
from delivery.resending import resend
from fulfillment.payments import PaymentSerializer, RefundSerializer, to_text, validate_payment
from merchants.models import ApiKey
from orders.fields import EmailField
from orders.models import Order, OrderItem, RefusedReport, named
from orders.placing import place_order
from orders.refusals import record_refusal
from orders.search import MAX_CUSTOMER, Kind, clean, find_addresses, find_words, is_searchable, look_up
from orders.services import correct_email, refund, renew_link, revoke_link


class ReportView(APIView):
    """A view for shops' reports. It records refused reports, which the merchant sees in the portal."""

    kind: RefusedReport.Kind
    RECORDED_STATUSES = (400, 403, 404, 409, 413, 415)

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        key = self.request.auth
        if isinstance(key, ApiKey) and response.status_code in self.RECORDED_STATUSES:
            reported = self._reported()
            record_refusal(
                key.merchant,
                kind=self.kind,
                number=to_text(self.kwargs.get("number") or reported.get("order")),
                status=response.status_code,
                reason=response.data["detail"],
                errors=[remove_value(error, reported) for error in response.data.get("errors", [])],
                actor=str(key),
            )
        return response

    def _reported(self) -> Mapping[str, Any]:
        try:
            data = self.request.data
        except APIException:  # the body can't be parsed
            return {}
        return data if isinstance(data, Mapping) else {}


def remove_value(error: dict[str, str], reported: Mapping[str, Any]) -> dict[str, str]:
    """Remove the reported value from an error, because it may be customer data."""
    value: Any = reported
    for part in error["pointer"].split("/")[1:]:
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (LookupError, TypeError, ValueError):
            return error
    return error | {"detail": error["detail"].replace(value, "…")} if isinstance(value, str) and value else error


def find_order(request: Request, name: str) -> Order:
    """Find the merchant's order by its number, or by its id if written as `id:17`."""
    return get_object_or_404(cast(ApiKey, request.auth).merchant.orders, named(name, "number"))


def find_item(order: Order, name: str) -> OrderItem:
    return get_object_or_404(order.items, named(name, "reference"))


def display(order: Order) -> dict:
    if not hasattr(order, "loaded_items"):
        prefetch_related_objects([order], *FOR_DISPLAY)
    return OrderSerializer(order).data


class PaymentView(ReportView):
    scope = ApiKey.Scope.PAYMENTS
    kind = RefusedReport.Kind.PAYMENT

    @extend_schema(
        summary="Report a payment",
        request=PaymentSerializer,
        responses={
            201: OrderSerializer,
            200: OpenApiResponse(OrderSerializer, "Reported before. Returns the current order with the same codes."),
            202: OpenApiResponse(OrderSerializer, "All items are *not ours*. The order is stored as *unmapped*."),
            **problems(400, 401, 403, 409, 413, 415, 429),
        },
    )
    def post(self, request):
        """Stores the order and issues its activation codes. The response contains the codes available so far.

        You can safely report a payment again: it always creates one order. 409 means that an order with this number
        exists with different content, and `errors` point to the differences. An item with an unknown product, no
        quantity or a negative price is *not ours*; the other items get their codes. If its product is added later,
        report the payment again to get its codes.
        """
        merchant = request.auth.merchant
        order, created = place_order(merchant, validate_payment(merchant, request.data), actor=str(request.auth))
        answer = display(order)
        if answer["unmapped"]:
            return Response(answer, status=status.HTTP_202_ACCEPTED)
        return Response(answer, status=status.HTTP_201_CREATED if created else status.HTTP_200_OK)


class OrderPages(Pages):
    ordering = ("-paid_at", "-id")


class OrderFilterSerializer(serializers.Serializer):
    status = serializers.ChoiceField(Order.Status.choices, required=False)
    unmapped = serializers.ChoiceField(
        ["true"], required=False, help_text="Only unmapped orders, whose items are all *not ours*."
    )
    email = serializers.CharField(
        required=False,
        max_length=1000,
        help_text="The customer’s e-mail address, case-insensitive. `Ada Byron <ada@example.com>` works, too.",
    )
    number = serializers.CharField(
        required=False,
        max_length=1000,
        help_text="With or without leading letters and zeros. Separate several with commas.",
    )
    customer = serializers.CharField(
        required=False,
        max_length=MAX_CUSTOMER,
        help_text="Words from the customer’s name, company or address, in any order. Ignores case and accents.",
    )

    def validate_email(self, value):
        if not find_addresses(clean(value)):
            raise serializers.ValidationError("Enter an e-mail address.")
        return value

    def validate_customer(self, value):
        if not any(map(is_searchable, find_words(clean(value)))):
            raise serializers.ValidationError("Enter a word with at least three letters.")
        return value


@extend_schema_view(
    get=extend_schema(
        summary="List orders, most recently paid first",
        parameters=[OrderFilterSerializer],
        responses={200: OrderSerializer(many=True), **problems(400, 401, 403, 404, 429)},
    )
)
class OrderListView(generics.ListAPIView):
    scope = ApiKey.Scope.ORDERS
    serializer_class = OrderSerializer
    pagination_class = OrderPages

    def get_queryset(self):
        filters = OrderFilterSerializer(data=self.request.query_params)
        filters.is_valid(raise_exception=True)
        orders = cast(ApiKey, self.request.auth).merchant.orders.all()
        if "status" in filters.validated_data:
            orders = orders.filter(status=filters.validated_data["status"])
        if "unmapped" in filters.validated_data:
            orders = orders.unmapped()
        for kind in (Kind.EMAIL, Kind.NUMBER, Kind.CUSTOMER):
            if text := filters.validated_data.get(kind.value):
                found = look_up(orders, kind, text)
                orders = orders.none() if found is None else found
        return orders.prefetch_related(*FOR_DISPLAY)


class OrderAPIView(APIView):
    scope = ApiKey.Scope.ORDERS


class OrderView(OrderAPIView):
    @extend_schema(summary="Read an order", responses={200: OrderSerializer, **problems(401, 403, 404, 429)})
    def get(self, request, number):
        return Response(display(find_order(request, number)))


class AddressSerializer(serializers.Serializer):
    email = EmailField(max_length=254, help_text="The customer’s correct address.")


class AddressView(OrderAPIView):
    @extend_schema(
        summary="Correct the customer's address",
        request=AddressSerializer,
        responses={200: OrderSerializer, **problems(400, 401, 403, 404, 413, 415, 429)},
    )
    def put(self, request, number):
        """All later e-mails go to this address, including those already queued. This doesn’t resend anything."""
        order = find_order(request, number)
        serializer = AddressSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        correct_email(order, serializer.validated_data["email"], actor=str(request.auth))
        return Response(display(order))


class LinkView(OrderAPIView):
    @extend_schema(
        summary="Renew the customer's link",
        request=None,
        responses={200: OrderSerializer, **problems(401, 403, 404, 429)},
    )
    def post(self, request, number):
        """Creates a new link to the customer’s order page. The old link stops working immediately."""
        order = find_order(request, number)
        renew_link(order, actor=str(request.auth))
        return Response(display(order))

    @extend_schema(
        summary="Revoke the customer's link", responses={200: OrderSerializer, **problems(401, 403, 404, 429)}
    )
    def delete(self, request, number):
        """From now on, the customer’s order page returns 404 and `order_url` is null."""
        order = find_order(request, number)
        revoke_link(order, actor=str(request.auth))
        return Response(display(order))


class RefundView(ReportView):
    scope = ApiKey.Scope.PAYMENTS
    kind = RefusedReport.Kind.REFUND

    @extend_schema(
        summary="Report a refund",
        request=RefundSerializer,
        responses={200: OrderSerializer, **problems(400, 401, 403, 404, 409, 413, 415, 429)},
    )
    def post(self, request, number):
        """Omit the amount to refund everything that is left.

        When nothing is left, the order becomes `deleted`; until then it stays `paid`. A refund with a reference is
        recorded once, even if you report it several times.
        """
        order = find_order(request, number)
        serializer = RefundSerializer(data=request.data, context={"order": order})
        serializer.is_valid(raise_exception=True)
        return Response(display(refund(order, **serializer.validated_data, actor=str(request.auth))))


class DeliverySerializer(serializers.Serializer):
    id = serializers.IntegerField()
    status = serializers.ChoiceField(Delivery.Status.choices)
    recipient = serializers.EmailField()


class ResendView(OrderAPIView):
    @extend_schema(
        summary="Resend an item's activation codes",
        request=None,
        responses={202: DeliverySerializer, **problems(401, 403, 404, 409, 429)},
    )
    def post(self, request, number, item):
        """Sends the codes to the customer’s current address. Two requests within a minute send one e-mail.

        Requires that a code is saved, the order is paid, and its checkout page allows delivery. Otherwise returns 409
        with the rule that isn’t met.
        """
        delivery, _ = resend(find_item(find_order(request, number), item), actor=str(request.auth))
        return Response(DeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)
