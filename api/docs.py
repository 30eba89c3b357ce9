from collections.abc import Callable
from functools import cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.renderers import BaseRenderer

from work.stored_texts import in_english


class ApiSchema(SpectacularAPIView):
    """Serves the schema from a cache: generating it takes 0.1 seconds, and anyone may request it."""

    @extend_schema(exclude=True)
    def get(self, request, *args, **kwargs):
        renderer = request.accepted_renderer
        return HttpResponse(_render(renderer.__class__), content_type=f"{renderer.media_type}; charset=utf-8")


@cache
def _render(renderer: Callable[[], BaseRenderer]) -> str | bytes:
    return renderer().render(read_schema(), renderer_context={})


@cache
@in_english()
def read_schema() -> dict[str, Any]:
    schema: dict[str, Any] = SpectacularAPIView.generator_class().get_schema(request=None, public=True)
    return schema
