from django.urls import path

from shops.inbox import receive

urlpatterns = [path("<str:token>/", receive, name="inbox")]
