from datetime import datetime, timedelta

from licensing.models import FloatingSession, LicenseType
from licensing.validation.base import ModuleResult, Rules, WarningLevel
from vault.fingerprints import fingerprint

CHECK_OUT, CHECK_IN = "checkOut", "checkIn"
A_DAY = 24 * 60 * 60


class FloatingRules(Rules):
    """So many sessions at a time, which are checked out (sessionId, action), and in again, or expire."""

    PARAMETERS = frozenset({"sessionId", "action", "maxCheckoutValidity"})

    def judge(self) -> ModuleResult:
        total = sum(license.max_sessions or 0 for license in self.of_type(LicenseType.FLOATING))
        session, action = self._asked()
        others = self._live()
        was_live = session in others
        others.discard(session)

        if action == CHECK_OUT and len(others) < total:
            expires = self.now + timedelta(seconds=self._seconds())
            return ModuleResult(
                True,
                WarningLevel.of_places(len(others) + 1, total),
                {"expirationTimestamp": expires},
                changes_at=expires,
                write=lambda: self._check_out(session, expires),
            )
        if action == CHECK_IN:
            write = (lambda: self._check_in(session)) if was_live else None
            return ModuleResult(False, WarningLevel.of_places(len(others), total), write=write)
        level = WarningLevel.of_places(len(others) + was_live, total)
        return ModuleResult(False, level, reason=self._reason(total, asked=bool(action)))

    def _reason(self, total: int, *, asked: bool) -> str:
        if not total:
            return self.lacking(LicenseType.FLOATING)
        if not asked:
            return "The program sent no sessionId and action."
        return f"All sessions are checked out ({total})."

    def _asked(self) -> tuple[bytes, str]:
        """The fingerprint of the session, and what to do with it; neither if nothing is asked."""
        session, action = self.parameters.text("sessionId"), self.parameters.text("action")
        if action not in {CHECK_OUT, CHECK_IN, ""}:
            raise self.parameters.malformed("action", f"is neither {CHECK_OUT} nor {CHECK_IN}")
        if bool(session) != bool(action):
            raise self.parameters.malformed("action" if session else "sessionId", "is not provided")
        return fingerprint(session) if session else b"", action

    def _seconds(self) -> int:
        """How long it is checked out for; the software may ask for less than the module allows."""
        most = self.module.max_checkout_validity or A_DAY
        return min(self.parameters.quantity("maxCheckoutValidity") or most, most)

    def _live(self) -> set[bytes]:
        if self.licensee.pk is None:
            return set()
        sessions = self.licensee.sessions.filter(module=self.module, expires_at__gt=self.now)
        return {bytes(known) for known in sessions.values_list("fingerprint", flat=True)}

    def _check_out(self, session: bytes, expires: datetime) -> None:
        self.licensee.sessions.filter(module=self.module, expires_at__lte=self.now).delete()
        FloatingSession.objects.update_or_create(
            licensee=self.licensee, module=self.module, fingerprint=session, defaults={"expires_at": expires}
        )

    def _check_in(self, session: bytes) -> None:
        self.licensee.sessions.filter(module=self.module, fingerprint=session).delete()
