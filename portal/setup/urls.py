from django.urls import path

from portal.setup import views as setup

urlpatterns = [
    path("", setup.setup, name="setup"),
    path("add/", setup.add, name="setup-add"),
    path("<int:pk>/withdraw/", setup.withdraw, name="setup-withdraw"),
]
