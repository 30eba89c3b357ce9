from typing import Any

from allauth.account.auth_backends import AuthenticationBackend

from portal.access import read_memberships


class MemberBackend(AuthenticationBackend):
    """Reads a signed-in user together with the memberships, which every page needs, in one query."""

    def get_user(self, user_id: Any) -> Any:
        memberships = read_memberships(user_id)
        if not memberships:
            user = super().get_user(user_id)
        else:
            user = memberships[0].user if self.user_can_authenticate(memberships[0].user) else None
        if user is not None:
            user.known_memberships = memberships
        return user
