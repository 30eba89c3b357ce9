from django.urls import path

from portal.attention import views

urlpatterns = [
    path("", views.attention, name="attention"),
    path("<slug:slug>/", views.cause_page, name="attention-cause"),
    path("<slug:slug>/fix/", views.fix_all, name="attention-fix"),
    path("<slug:slug>/dealt-with/", views.deal_with_all, name="attention-dealt-with"),
    path("<slug:slug>/<int:thing>/dealt-with/", views.deal_with_one, name="attention-row-dealt-with"),
]
