from typing import Any, cast

from django.shortcuts import get_object_or_404
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import generics, serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.views import APIView

from api.paging import Pages
from api.parsers import BoundedMultiPartParser, CsvParser, GzipParser, PlainTextParser
from api.schema import problems
from merchants.models import ApiKey
from pools.detection import describe_candidate
from pools.models import KeyBatch, KeyImport, LicensePool
from pools.reading import DELIMITERS, ENCODINGS, FORMATS, SPLITS
from pools.sandbox import add_test_pools
from pools.spreadsheets import WAYS
from pools.uploads import ImportRefused, begin, confirm, discard, get_progress
from pools.withdrawal import undo, withdraw_rest


class PoolSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    threshold = serializers.IntegerField()
    available = serializers.IntegerField()


class StockSerializer(PoolSerializer):
    reserve = serializers.IntegerField(help_text="Number of keys to hold back.")
    imported = serializers.IntegerField(help_text="available + reserved + issued + withdrawn")
    reserved = serializers.IntegerField()
    issued = serializers.IntegerField()
    withdrawn = serializers.IntegerField()


class ImportSerializer(serializers.Serializer):
    batch = serializers.IntegerField(source="batch_id", allow_null=True, help_text="Null if no key was new.")
    imported = serializers.IntegerField(source="preview.new")
    repeated = serializers.IntegerField(source="preview.repeated.count", help_text="Skipped: repeated in the file.")
    already_in_pool = serializers.IntegerField(
        source="preview.already_in_pool.count", help_text="Skipped: they are or were in the pool."
    )
    already_in_other_pools = serializers.IntegerField(
        source="preview.already_in_other_pools.count", help_text="Skipped: they are in another pool of the merchant."
    )
    read_as = serializers.DictField(
        source="preview.read_as", help_text="The options used to read the keys; for a table, which column and why."
    )
    warnings = serializers.ListField(
        source="preview.warnings", child=serializers.CharField(), help_text="What looks wrong with imported keys."
    )


class LinesSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    numbers = serializers.ListField(child=serializers.IntegerField(), help_text="The first 100 line numbers.")


class PreviewSerializer(serializers.Serializer):
    keys = serializers.IntegerField()
    new = serializers.IntegerField(help_text="Number of keys that an import adds.")
    repeated = LinesSerializer(help_text="Repeated in the file.")
    already_in_pool = LinesSerializer(help_text="They are or were in the pool.")
    already_in_other_pools = LinesSerializer(help_text="They are in another pool of the merchant.")
    empty = LinesSerializer()
    unusable = LinesSerializer(help_text="They can’t be keys; `problems` says why.")
    read_as = serializers.DictField(help_text="The options used to read the keys, including detected ones.")
    warnings = serializers.ListField(child=serializers.CharField())


class CandidateSerializer(serializers.Serializer):
    column = serializers.IntegerField(help_text="From 1.")
    heading = serializers.CharField()
    about = serializers.CharField(help_text="Description of its values.")


class KeyImportSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    url = serializers.SerializerMethodField()
    status = serializers.ChoiceField(KeyImport.Status.choices)
    progress = serializers.SerializerMethodField(help_text="In percent; null if unknown.")
    file_name = serializers.CharField()
    note = serializers.CharField()
    uploaded_at = serializers.DateTimeField()
    uploaded_by = serializers.CharField()
    error = serializers.CharField(help_text="Why the import was refused or failed.")
    problems = serializers.SerializerMethodField(help_text="Problems by line number.")
    candidates = serializers.SerializerMethodField(
        help_text="The columns to choose from, if the column with the keys couldn’t be detected."
    )
    preview = serializers.SerializerMethodField(help_text="The expected or actual result of the import.")
    batch = serializers.IntegerField(source="batch_id", allow_null=True)

    def get_url(self, key_import) -> str:
        return reverse("api-import", args=[key_import.pool_id, key_import.pk])

    def get_progress(self, key_import) -> int | None:
        return get_progress(key_import)

    def get_problems(self, key_import) -> dict[str, str]:
        return key_import.preview.get("problems", {})

    @extend_schema_field(CandidateSerializer(many=True))
    def get_candidates(self, key_import):
        return key_import.preview.get("candidates", [])

    @extend_schema_field(PreviewSerializer(allow_null=True))
    def get_preview(self, key_import):
        return PreviewSerializer(key_import.preview).data if "keys" in key_import.preview else None


class BatchSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    keys = serializers.IntegerField(source="key_count")
    repeated = serializers.IntegerField()
    already_in_pool = serializers.IntegerField()
    already_in_other_pools = serializers.IntegerField()
    unusable = serializers.IntegerField()
    file_name = serializers.CharField()
    note = serializers.CharField()
    imported_at = serializers.DateTimeField()
    imported_by = serializers.CharField()
    undone_at = serializers.DateTimeField(allow_null=True)


class WithdrawnSerializer(serializers.Serializer):
    withdrawn = serializers.IntegerField()


class KeyFileSerializer(serializers.Serializer):
    file = serializers.FileField(required=False, allow_empty_file=True)
    text = serializers.CharField(
        required=False, trim_whitespace=False, help_text="The keys as text, instead of a file."
    )

    def validate(self, data):
        if len(data) != 1:
            raise serializers.ValidationError({"file": "Send either `file` or `text`."})
        return data


class ReadingSerializer(serializers.Serializer):
    encoding = serializers.ChoiceField(list(ENCODINGS), required=False)
    file_format = serializers.ChoiceField(FORMATS, required=False, source="format")
    split = serializers.ChoiceField(SPLITS, required=False, help_text="What separates the keys of a text.")
    separator = serializers.CharField(
        required=False,
        max_length=100,
        trim_whitespace=False,
        help_text="Required if `split` is `separators` or `separator lines`.",
    )
    delimiter = serializers.ChoiceField(list(DELIMITERS), required=False, help_text="Separator between CSV columns.")
    column = serializers.IntegerField(
        required=False, min_value=1, max_value=1000, help_text="CSV column with the keys, from 1."
    )
    header = serializers.ChoiceField(
        ["yes", "no"], required=False, help_text="Whether the first CSV row has headings."
    )
    spreadsheet = serializers.ChoiceField(
        WAYS,
        required=False,
        help_text='`fix` removes formatting that a spreadsheet added (`="0012"`, `\'0012`, `1234.0`). `keep` also'
        " imports shortened numbers (`1.23E+15`), which are errors otherwise.",
    )
    note = serializers.CharField(required=False, max_length=500, help_text="Helps you find the batch later.")

    def validate(self, data):
        if data.get("split", "").startswith("separator") and not data.get("separator"):
            raise serializers.ValidationError({"separator": "Enter the separator."})
        return data


KEY_FILE: dict[str, Any] = {
    "text/plain": OpenApiTypes.STR,
    "text/csv": OpenApiTypes.STR,
    "application/gzip": OpenApiTypes.BINARY,
    "multipart/form-data": KeyFileSerializer,
}


class PoolAPIView(APIView):
    scope = ApiKey.Scope.POOLS

    def pool(self, pk: int) -> LicensePool:
        return get_object_or_404(cast(ApiKey, self.request.auth).merchant.pools, pk=pk)

    def batch(self, pk: int, number: int) -> KeyBatch:
        return get_object_or_404(self.pool(pk).batches, pk=number)

    def key_import(self, pk: int, number: int) -> KeyImport:
        return get_object_or_404(self.pool(pk).imports, pk=number)


class KeyUploadView(PoolAPIView):
    """Accepts a file of keys as the request body, or as `file` or `text` of a form."""

    takes_files = True
    parser_classes = [PlainTextParser, CsvParser, GzipParser, BoundedMultiPartParser]

    def get_upload(self, request) -> dict[str, Any]:
        """Return the uploaded content as keyword arguments for `begin`."""
        reading = ReadingSerializer(data=request.query_params)
        reading.is_valid(raise_exception=True)
        options = dict(reading.validated_data)
        if "header" in options:
            options["header"] = options["header"] == "yes"
        upload: dict[str, Any] = {"note": options.pop("note", ""), "options": options}
        if isinstance(request.data, bytes):
            if (request.content_type or "").startswith("text/csv"):
                options.setdefault("format", "csv")
            return upload | {"content": [request.data]}
        serializer = KeyFileSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        if file := serializer.validated_data.get("file"):
            return upload | {"content": list(file.chunks()), "file_name": file.name}
        return upload | {"content": [serializer.validated_data["text"].encode(errors="replace")]}


class PoolListView(PoolAPIView):
    @extend_schema(
        operation_id="v1_pools_list",
        summary="List pools",
        responses={200: PoolSerializer(many=True), **problems(401, 403, 429)},
    )
    def get(self, request):
        add_test_pools(request.auth.merchant)
        return Response(PoolSerializer(request.auth.merchant.pools.with_stock().order_by("name"), many=True).data)


class PoolView(PoolAPIView):
    @extend_schema(summary="Read a pool's stock", responses={200: StockSerializer, **problems(401, 403, 404, 429)})
    def get(self, request, pk):
        return Response(StockSerializer(get_object_or_404(request.auth.merchant.pools.with_counts(), pk=pk)).data)


def describe_refusal(key_import: KeyImport) -> dict[str, Any]:
    """Describe why nothing was imported: by line, or by the parameter that has to change."""
    preview = key_import.preview
    if lines := {str(number): [problem] for number, problem in preview.get("problems", {}).items()}:
        return {"lines": lines}
    if candidates := preview.get("candidates"):
        question = "Which column contains the license keys? Send its number as the parameter `column`."
        return {"column": [question, *map(describe_candidate, candidates)]}
    return {preview.get("field", "file"): [key_import.error]}


class PoolKeysView(KeyUploadView):
    @extend_schema(
        summary="Add keys to a pool",
        request=KEY_FILE,
        parameters=[ReadingSerializer],
        responses={
            201: ImportSerializer,
            200: OpenApiResponse(ImportSerializer, "No key was new."),
            202: OpenApiResponse(KeyImportSerializer, "The upload is large. Poll its `url` for the result."),
            **problems(400, 401, 403, 404, 413, 415, 429),
        },
    )
    def post(self, request, pk):
        """Send one key per line in UTF-8, or set the parameters. Either all new keys are added or none.

        If a line can't be a key, this returns 400. In a table (`text/csv`, or a file named `.csv`), the column with
        the keys is detected by its heading and values. If that isn't clear, a 400 lists the columns to choose from.
        Uploads up to 256 KiB are imported before the response. Items that wait for the pool get their keys
        immediately, oldest payment first.
        """
        key_import = begin(self.pool(pk), actor=str(request.auth), confirmed=True, **self.get_upload(request))
        if key_import.error:
            raise ValidationError(describe_refusal(key_import))
        if key_import.status != KeyImport.Status.IMPORTED:
            return Response(KeyImportSerializer(key_import).data, status=status.HTTP_202_ACCEPTED)
        is_new = key_import.batch_id is not None
        return Response(ImportSerializer(key_import).data, status.HTTP_201_CREATED if is_new else status.HTTP_200_OK)


class ImportsView(KeyUploadView):
    @extend_schema(
        summary="Upload keys for a preview",
        request=KEY_FILE,
        parameters=[ReadingSerializer],
        responses={201: KeyImportSerializer, **problems(400, 401, 403, 404, 413, 415, 429)},
    )
    def post(self, request, pk):
        """Nothing is imported until you confirm. Parameters that you omit are detected."""
        key_import = begin(self.pool(pk), actor=str(request.auth), **self.get_upload(request))
        return Response(KeyImportSerializer(key_import).data, status=status.HTTP_201_CREATED)


class ImportView(PoolAPIView):
    @extend_schema(summary="Read an import", responses={200: KeyImportSerializer, **problems(401, 403, 404, 429)})
    def get(self, request, pk, number):
        return Response(KeyImportSerializer(self.key_import(pk, number)).data)

    @extend_schema(summary="Discard an import", responses={204: None, **problems(401, 403, 404, 409, 429)})
    def delete(self, request, pk, number):
        """Deletes the uploaded content. Returns 409 if the import has been confirmed."""
        key_import = self.key_import(pk, number)
        discard(key_import)
        key_import.refresh_from_db(fields=["status"])
        if key_import.status != KeyImport.Status.DISCARDED:
            raise ImportRefused(f"This import is already {key_import.status}.")
        return Response(status=status.HTTP_204_NO_CONTENT)


class ConfirmView(PoolAPIView):
    @extend_schema(
        summary="Confirm an import",
        request=None,
        responses={200: KeyImportSerializer, **problems(401, 403, 404, 409, 429)},
    )
    def post(self, request, pk, number):
        """Imports the previewed keys. A large import continues in the background with the status `importing`.

        Returns 409 if the import isn't `ready` or has been confirmed.
        """
        key_import = confirm(self.key_import(pk, number), actor=str(request.auth))
        return Response(KeyImportSerializer(key_import).data)


class BatchPages(Pages):
    ordering = ("-imported_at", "-id")


class BatchListView(PoolAPIView, generics.ListAPIView):
    serializer_class = BatchSerializer
    pagination_class = BatchPages

    def get_queryset(self):
        return self.pool(self.kwargs["pk"]).batches.all()

    @extend_schema(
        summary="List a pool's batches, most recently imported first",
        responses={200: BatchSerializer(many=True), **problems(401, 403, 404, 429)},
    )
    def get(self, request, *args, **kwargs):
        return super().get(request, *args, **kwargs)


class UndoView(PoolAPIView):
    @extend_schema(
        summary="Undo the import of a batch",
        request=None,
        responses={200: BatchSerializer, **problems(401, 403, 404, 409, 429)},
    )
    def post(self, request, pk, number):
        """Deletes the batch's keys from the pool. Returns 409 if one of them was issued or withdrawn."""
        batch = self.batch(pk, number)
        undo(batch, actor=str(request.auth))
        batch.refresh_from_db()
        return Response(BatchSerializer(batch).data)


class WithdrawView(PoolAPIView):
    @extend_schema(
        summary="Withdraw the rest of a batch",
        request=None,
        responses={200: WithdrawnSerializer, **problems(401, 403, 404, 429)},
    )
    def post(self, request, pk, number):
        """Permanently withdraws the batch's keys that haven't been issued."""
        count = withdraw_rest(self.batch(pk, number), actor=str(request.auth))
        return Response({"withdrawn": count})
