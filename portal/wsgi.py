import os

import django
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
django.setup(set_prefix=False)


class LenientRequest(WSGIRequest):
    """Tolerates an undecodable Content-Type, for which Django would respond with a 500. The view can refuse it."""

    def _set_content_type_params(self, meta):
        try:
            super()._set_content_type_params(meta)  # type: ignore[misc]
        except ValueError:
            self.content_type, self.content_params = "", {}


class LenientHandler(WSGIHandler):
    request_class = LenientRequest


application = LenientHandler()
