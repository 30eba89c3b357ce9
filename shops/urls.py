from django.urls import path

from shops.inbox import receive

urlpatterns = [
    path("<str:token>/", receive, name="inbox"),
    # Without the slash, too: Django's redirect would lose the body, and WooCommerce takes one for a success.
    path("<str:token>", receive),
]
