import logging
import re

from django.views.debug import SafeExceptionReporterFilter


class DiscreetReporterFilter(SafeExceptionReporterFilter):
    """Keeps activation codes, secrets and customer data out of error reports and debug pages, even with DEBUG on.

    Hides all variables and all POST data, because any of them could contain a license key.
    """

    def is_active(self, request):
        return True

    def get_traceback_frame_variables(self, request, tb_frame):
        return []

    def get_post_parameters(self, request):
        return {} if request is None else dict.fromkeys(request.POST, self.cleansed_substitute)


class DiscreetLogFilter(logging.Filter):
    """Masks secret links in request logs, including mistyped and expired ones."""

    def filter(self, record):
        if isinstance(record.args, tuple):
            record.args = tuple(mask_path(arg) if isinstance(arg, str) else arg for arg in record.args)
        return True


# Pages whose addresses hold a secret, also in a mistyped URL.
SECRET_PAGES = re.compile(r"/(o|in|invitations|upload|uploaded|accounts/password/reset/key)/+[^/]+", re.IGNORECASE)
# Masks everything except collection URLs: in a mistyped URL, a number can be anywhere.
LICENSING = re.compile(r"^/core/(?!v2/rest/[a-zA-Z]+$)(v2/rest/(?:[a-z]+/(?=[^/]))?)?.+", re.DOTALL)


def mask_path(path: str) -> str:
    """Return the path of a URL without secrets, for logs."""
    return LICENSING.sub(r"/core/\1…", SECRET_PAGES.sub(r"/\1/…", path))
