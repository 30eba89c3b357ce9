import logging
import re

from django.views.debug import SafeExceptionReporterFilter


class DiscreetReporterFilter(SafeExceptionReporterFilter):
    """Keeps activation codes, secrets and customers out of error reports and debug pages, also while DEBUG is on.

    Any variable of any frame, and anything posted, may hold a license key, so none is shown.
    """

    def is_active(self, request):
        return True

    def get_traceback_frame_variables(self, request, tb_frame):
        return []

    def get_post_parameters(self, request):
        return {} if request is None else dict.fromkeys(request.POST, self.cleansed_substitute)


class DiscreetLogFilter(logging.Filter):
    """Keeps addresses that are keys out of what is logged of requests, also mistyped ones and those of the past."""

    ADDRESS = re.compile(r"^/(o|invitations|upload|uploaded)/[^/]+")
    # But for lists all of it, for a number may stand anywhere in one that is mistyped.
    LICENSING = re.compile(r"^/core/(?!v2/rest/[a-zA-Z]+$)(v2/rest/(?:[a-z]+/(?=[^/]))?)?.+", re.DOTALL)

    def filter(self, record):
        if isinstance(record.args, tuple):
            record.args = tuple(self._masked(arg) if isinstance(arg, str) else arg for arg in record.args)
        return True

    def _masked(self, text: str) -> str:
        return self.LICENSING.sub(r"/core/\1…", self.ADDRESS.sub(r"/\1/…", text))
