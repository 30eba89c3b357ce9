from django.core.management.base import BaseCommand

from runtime.doctor import examine
from runtime.status import FAILED, OK


class Command(BaseCommand):
    help = "Look for what is wrong or could soon be, and say what to do. Exits with 1 if something has failed."
    requires_system_checks = []

    def add_arguments(self, parser):
        parser.add_argument(
            "--time-server", default="", metavar="HOST", help="an NTP server to compare the clock with"
        )
        parser.add_argument("--problems", action="store_true", help="leave out what is fine")

    def handle(self, *, time_server, problems, **options):
        findings = examine(time_server)
        for finding in findings:
            if finding.state == OK and problems:
                continue
            self.stdout.write(f"{finding.state:8} {finding.subject}: {finding.text}")
            if finding.remedy:
                self.stdout.write(f"{'':8} → {finding.remedy}")
        if any(finding.state == FAILED for finding in findings):
            raise SystemExit(1)
