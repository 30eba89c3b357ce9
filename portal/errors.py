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
