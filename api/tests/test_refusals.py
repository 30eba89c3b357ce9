"""Refusals have a sentence for people and a code for programs."""

import re

from django.urls import get_resolver

from api.problems import exception_handler
from orders.services import RefundRefused
from work.refusals import Refused


def all_refusals(base=Refused):
    get_resolver().url_patterns  # noqa: B018  imports every module that a request can reach
    for kind in base.__subclasses__():
        yield kind
        yield from all_refusals(kind)


def test_each_refusal_has_a_unique_code():
    kinds = list(all_refusals())

    assert len(kinds) > 20
    assert all("code" in vars(kind) and re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code) for kind in kinds)
    assert len({kind.code for kind in kinds}) == len(kinds)


def test_the_response_contains_the_sentence_and_the_code():
    response = exception_handler(RefundRefused("The order is deleted, not paid."), {})

    assert response is not None
    assert response.status_code == 409
    assert response.content_type == "application/problem+json"
    assert response.data == {
        "title": "Conflict",
        "status": 409,
        "detail": "The order is deleted, not paid.",
        "code": "refund_refused",
    }


def test_the_error_for_a_contradicting_payment_has_a_code_too(api, make_payment, product):
    payment = make_payment(product)
    api.post("/api/v1/payments/", payment, format="json")

    response = api.post("/api/v1/payments/", payment | {"currency": "CHF"}, format="json")

    assert response.status_code == 409
    assert response.json()["code"] == "payment_conflict"
    assert response.json()["errors"] == [
        {"pointer": "#/currency", "detail": "This was first reported with a different value."}
    ]
