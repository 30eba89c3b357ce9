"""Under /core/v2/rest/, without a slash at the end."""

from django.urls import path

from licensing.views.base import Nothing

urlpatterns = [
    path("<path:anything>", Nothing.as_view()),
]
