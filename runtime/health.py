import logging
import shutil
from collections.abc import Callable

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from runtime.supervisor import failing_services
from vault.fingerprints import fingerprint
from work.valkey import valkey

# PostgreSQL extends its files by 16 MiB at a time.
MIN_FREE_BYTES = 32 * 1024 * 1024

logger = logging.getLogger(__name__)


class CheckFailed(Exception):
    pass


def check_migrations() -> None:
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise CheckFailed("Some migrations are not applied: run `manage.py migrate`.")


def check_services() -> None:
    if failing := failing_services():
        raise CheckFailed(f"Down and being restarted: {', '.join(failing)}.")


def check_disk() -> None:
    if shutil.disk_usage(settings.VAR).free < MIN_FREE_BYTES:
        raise CheckFailed("The disk is full. Make room, and everything continues automatically.")


CHECKS: dict[str, Callable[[], object]] = {
    "database": lambda: connection.cursor().execute("SELECT 1"),
    "migrations": check_migrations,
    "vault": lambda: fingerprint(""),
    "broker": lambda: valkey().ping(),
    "services": check_services,
    "disk": check_disk,
}


# Without these, payments are still accepted and answered with their codes.
DEGRADING = {"broker", "services"}


class Probes:
    """Middleware that answers /livez and /readyz for load balancers, which send any Host header."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        probe = PROBES.get(request.path)
        return probe(request) if probe else self.get_response(request)


@never_cache
@require_safe
def livez(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as this process answers. If it doesn't, restart it."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200, with the status `ok` or `degraded`, if this process can accept payments; otherwise 503."""
    checks = run_checks()
    failing = {name for name, result in checks.items() if result != "ok"}
    status = "failing" if failing - DEGRADING else "degraded" if failing else "ok"
    return JsonResponse({"status": status, "checks": checks}, status=503 if status == "failing" else 200)


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if everything works; otherwise 503 with the names of what fails."""
    checks = run_checks()
    healthy = all(result == "ok" for result in checks.values())
    return JsonResponse({"status": "ok" if healthy else "failing", "checks": checks}, status=200 if healthy else 503)


PROBES = {"/livez": livez, "/readyz": readyz}


def run_checks() -> dict[str, str]:
    """Return the result of each check: `ok`, or what fails."""
    return {name: _run(name, check) for name, check in CHECKS.items()}


def _run(name: str, check: Callable[[], object]) -> str:
    try:
        check()
    except CheckFailed as error:
        return str(error)
    except Exception as error:
        # The answer is public, so only the log gets the cause.
        logger.warning("The check of the %s failed: %s", name, error)
        return "failing"
    return "ok"
