from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.views import APIView

from merchants.models import ApiKey
from pools.imports import import_keys
from pools.reading import KeyFileError, parse_keys
from rest.parsers import BoundedMultiPartParser, PlainTextParser
from rest.schema import problems


class PoolSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    threshold = serializers.IntegerField()
    available = serializers.IntegerField()


class ImportSerializer(serializers.Serializer):
    batch = serializers.IntegerField(source="batch.pk", default=None, help_text="null if no key was new.")
    imported = serializers.IntegerField()
    repeated = serializers.IntegerField(
        source="preview.repeated.count", help_text="Left out: the file has them more than once."
    )
    already_in_pool = serializers.IntegerField(
        source="preview.already_in_pool.count", help_text="Left out: the pool has or had them."
    )
    already_in_other_pools = serializers.IntegerField(
        source="preview.already_in_other_pools.count", help_text="Left out: another pool of the merchant has them."
    )


class KeyFileSerializer(serializers.Serializer):
    file = serializers.FileField(required=False, allow_empty_file=True)
    text = serializers.CharField(required=False, trim_whitespace=False, help_text="Instead of a file.")

    def validate(self, data):
        if len(data) != 1:
            raise serializers.ValidationError({"file": "Send either a file or a text."})
        return data


class PoolListView(APIView):
    scope = ApiKey.Scope.POOLS

    @extend_schema(summary="List pools", responses={200: PoolSerializer(many=True), **problems(401, 403, 429)})
    def get(self, request):
        return Response(PoolSerializer(request.auth.merchant.pools.with_stock().order_by("name"), many=True).data)


class PoolKeysView(APIView):
    scope = ApiKey.Scope.POOLS
    parser_classes = [PlainTextParser, BoundedMultiPartParser]

    @extend_schema(
        summary="Add keys to a pool",
        request={"text/plain": OpenApiTypes.STR, "multipart/form-data": KeyFileSerializer},
        responses={
            201: ImportSerializer,
            200: OpenApiResponse(ImportSerializer, "No key was new."),
            **problems(400, 401, 403, 404, 413, 415, 429),
        },
    )
    def post(self, request, pk):
        """UTF-8 text, one key a line, as the body or as a form's `file` or `text`. All new keys are added, or none.

        Items that wait for the pool are served at once, oldest payment first.
        """
        pool = get_object_or_404(request.auth.merchant.pools, pk=pk)
        content, file_name = self._content(request)
        try:
            result = import_keys(pool, parse_keys(content), by=str(request.auth), file_name=file_name)
        except KeyFileError as error:
            lines = {str(number): [problem] for number, problem in error.lines.items()}
            raise ValidationError({"lines": lines} if lines else {"file": [str(error)]}) from error
        return Response(
            ImportSerializer(result).data, status=status.HTTP_201_CREATED if result.batch else status.HTTP_200_OK
        )

    def _content(self, request) -> tuple[bytes, str]:
        if isinstance(request.data, bytes):
            return request.data, ""
        serializer = KeyFileSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        if file := serializer.validated_data.get("file"):
            return file.read(), file.name
        return serializer.validated_data["text"].encode(), ""
