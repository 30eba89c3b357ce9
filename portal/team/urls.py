from django.urls import path

from portal.team import views as team

urlpatterns = [
    path("", team.team, name="team"),
    path("second-factor/on/", team.second_factor, {"required": True}, name="second-factor-on"),
    path("second-factor/off/", team.second_factor, {"required": False}, name="second-factor-off"),
    path("invite/", team.invite, name="team-invite"),
    path("members/<int:pk>/role/", team.change_role, name="member-role"),
    path("members/<int:pk>/remove/", team.remove, name="member-remove"),
    path("invitations/<int:pk>/send/", team.resend, name="invitation-send"),
    path("invitations/<int:pk>/withdraw/", team.withdraw, name="invitation-withdraw"),
]
