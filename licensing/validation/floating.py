from datetime import datetime, timedelta

from licensing.models import FloatingSession, LicenseType
from licensing.validation.base import ModuleResult, Rules, WarningLevel
from vault.fingerprints import fingerprint

CHECK_OUT, CHECK_IN = "checkOut", "checkIn"
DEFAULT_CHECKOUT = 24 * 60 * 60  # seconds


class FloatingRules(Rules):
    """A limited number of concurrent sessions, checked out and in by sessionId and action. They also expire."""

    PARAMETERS = frozenset({"sessionId", "action", "maxCheckoutValidity"})

    def judge(self) -> ModuleResult:
        total = sum(license.max_sessions or 0 for license in self.active_licenses(LicenseType.FLOATING))
        session, action = self._read_action()
        others = self._live()
        was_live = session in others
        others.discard(session)

        if action == CHECK_OUT and len(others) < total:
            expires = self.now + timedelta(seconds=self._seconds())
            return ModuleResult(
                True,
                WarningLevel.from_seats(len(others) + 1, total),
                {"expirationTimestamp": expires},
                changes_at=expires,
                write=lambda: self._check_out(session, expires),
            )
        if action == CHECK_IN:
            write = (lambda: self._check_in(session)) if was_live else None
            return ModuleResult(False, WarningLevel.from_seats(len(others), total), write=write)
        level = WarningLevel.from_seats(len(others) + was_live, total)
        return ModuleResult(False, level, reason=self._reason(total, has_action=bool(action)))

    def _reason(self, total: int, *, has_action: bool) -> str:
        if not total:
            return self.explain_missing(LicenseType.FLOATING)
        if not has_action:
            return "The software sent no sessionId and action."
        return f"No session is free: {total} of {total} are checked out."

    def _read_action(self) -> tuple[bytes, str]:
        """Return the fingerprint of the session and the action; both are empty if not sent."""
        session, action = self.parameters.text("sessionId"), self.parameters.text("action")
        if action not in {CHECK_OUT, CHECK_IN, ""}:
            raise self.parameters.malformed("action", f"must be {CHECK_OUT} or {CHECK_IN}")
        if bool(session) != bool(action):
            raise self.parameters.malformed("action" if session else "sessionId", "is not provided")
        return fingerprint(session) if session else b"", action

    def _seconds(self) -> int:
        """The software may ask for a shorter checkout than the module allows."""
        longest = self.module.max_checkout_validity or DEFAULT_CHECKOUT
        return min(self.parameters.quantity("maxCheckoutValidity") or longest, longest)

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
