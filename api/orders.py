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
from api.payment_serializers import PaymentSerializer, RefundSerializer, readable
from api.schema import problems
from delivery.models import Delivery
from delivery.resending import resend
from merchants.models import ApiKey
from orders.fields import EmailField
from orders.models import Order, OrderItem, RefusedReport, named
from orders.refusals import record_refusal
from orders.search import MAX_CUSTOMER, Kind, clean, find_addresses, find_words, look_up, says_enough
from orders.services import correct_email, place_order, refund, renew_link, revoke_link


class ReportView(APIView):
    """A view for what shops report. Its merchant sees in the portal what was refused, and why."""

    kind: RefusedReport.Kind
    SHOWN = (400, 403, 404, 409, 413, 415)

    def handle_exception(self, exc: Exception) -> Response:
        response = super().handle_exception(exc)
        key = self.request.auth
        if isinstance(key, ApiKey) and response.status_code in self.SHOWN:
            reported = self._reported()
            record_refusal(
                key.merchant,
                kind=self.kind,
                number=readable(self.kwargs.get("number") or reported.get("order")),
                status=response.status_code,
                reason=response.data["detail"],
                errors=[without_quotes(error, reported) for error in response.data.get("errors", [])],
                actor=str(key),
            )
        return response

    def _reported(self) -> Mapping[str, Any]:
        try:
            data = self.request.data
        except APIException:  # it could not be read
            return {}
        return data if isinstance(data, Mapping) else {}


def without_quotes(error: dict[str, str], reported: Mapping[str, Any]) -> dict[str, str]:
    """An error without the value that it quotes, which may be about the customer."""
    value: Any = reported
    for part in error["pointer"].split("/")[1:]:
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (LookupError, TypeError, ValueError):
            return error
    return error | {"detail": error["detail"].replace(value, "…")} if isinstance(value, str) and value else error


def find_order(request: Request, name: str) -> Order:
    """The merchant's order of this number, or of this id if it is written `id:17`."""
    return get_object_or_404(cast(ApiKey, request.auth).merchant.orders, named(name, "number"))


def find_item(order: Order, name: str) -> OrderItem:
    return get_object_or_404(order.items, named(name, "reference"))


def display(order: Order) -> dict:
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
            200: OpenApiResponse(OrderSerializer, "Reported before: the order as it now stands, the same codes."),
            202: OpenApiResponse(OrderSerializer, "None of its items is ours: the order is kept as *unmapped*."),
            **problems(400, 401, 403, 409, 413, 415, 429),
        },
    )
    def post(self, request):
        """Stores the order and gets it its activation codes; those already there are in the answer.

        Report a payment as often as you like, it is one order. 409: an order of this number says something else, and
        `errors` point to what differs. An item with an unknown product, without a quantity or with a negative price is
        *not ours*; the others get their codes. Once its product exists, the same payment again gets it its codes, too.
        """
        serializer = PaymentSerializer(data=request.data, context={"merchant": request.auth.merchant})
        serializer.is_valid(raise_exception=True)
        order, created = place_order(request.auth.merchant, serializer.validated_data, actor=str(request.auth))
        answer = display(order)
        if answer["unmapped"]:
            return Response(answer, status=status.HTTP_202_ACCEPTED)
        return Response(answer, status=status.HTTP_201_CREATED if created else status.HTTP_200_OK)


class OrderPages(Pages):
    ordering = ("-paid_at", "-id")


class OrderFilterSerializer(serializers.Serializer):
    status = serializers.ChoiceField(Order.Status.choices, required=False)
    unmapped = serializers.ChoiceField(["true"], required=False, help_text="Only orders in which nothing is ours.")
    email = serializers.CharField(
        required=False,
        max_length=1000,
        help_text="The customer's, in any case, also as `Ada Byron <ada@example.com>`.",
    )
    number = serializers.CharField(
        required=False, max_length=1000, help_text="With or without its leading letters and zeros; several by commas."
    )
    customer = serializers.CharField(
        required=False,
        max_length=MAX_CUSTOMER,
        help_text="Words of the customer's name, company or address, in any order, without case and accents.",
    )

    def validate_email(self, value):
        if not find_addresses(clean(value)):
            raise serializers.ValidationError("Enter an e-mail address.")
        return value

    def validate_customer(self, value):
        if not any(map(says_enough, find_words(clean(value)))):
            raise serializers.ValidationError("Enter a word of at least three letters.")
        return value


@extend_schema_view(
    get=extend_schema(
        summary="List orders, last paid first",
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
    email = EmailField(max_length=254, help_text="Where the customer really reads mail.")


class AddressView(OrderAPIView):
    @extend_schema(
        summary="Correct the customer's address",
        request=AddressSerializer,
        responses={200: OrderSerializer, **problems(400, 401, 403, 404, 413, 415, 429)},
    )
    def put(self, request, number):
        """What is mailed from then on goes there, also what is queued already. Nothing is sent again by this."""
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
        """The customer's order page gets a new address, also if its link was revoked. The old one dies at once."""
        order = find_order(request, number)
        renew_link(order, actor=str(request.auth))
        return Response(display(order))

    @extend_schema(
        summary="Revoke the customer's link", responses={200: OrderSerializer, **problems(401, 403, 404, 429)}
    )
    def delete(self, request, number):
        """The customer's order page is a 404 from now on, and `order_url` is null."""
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
        """Without an amount, or with all that is left: the order is `deleted`. With less it stays `paid`.

        A refund with a reference is recorded once, however often it is reported.
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
        summary="Send an item's activation codes again",
        request=None,
        responses={202: DeliverySerializer, **problems(401, 403, 404, 409, 429)},
    )
    def post(self, request, number, item):
        """To the customer's present address. Asked twice within a minute it sends one e-mail.

        409 says which rule forbids it: a code is saved, the order is paid, its checkout page allows delivery.
        """
        delivery, _ = resend(find_item(find_order(request, number), item), actor=str(request.auth))
        return Response(DeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)
