from drf_spectacular.utils import OpenApiResponse, inline_serializer
from rest_framework import serializers

from api.problems import CONTENT_TYPE

ProblemSerializer = inline_serializer(
    "Problem",
    {
        "title": serializers.CharField(),
        "status": serializers.IntegerField(),
        "detail": serializers.CharField(),
        "code": serializers.CharField(required=False, help_text="With a 409: the rule that isn’t met."),
        "errors": inline_serializer(
            "FieldProblem",
            {
                "pointer": serializers.CharField(help_text="JSON pointer (RFC 6901) to the field"),
                "detail": serializers.CharField(),
            },
            many=True,
            required=False,
        ),
        "request_id": serializers.CharField(help_text="The `X-Request-ID` of the response. Name it to support."),
    },
)


def problems(*codes: int) -> dict:
    return {(code, CONTENT_TYPE): OpenApiResponse(ProblemSerializer) for code in codes}
