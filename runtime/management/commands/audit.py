from django.core.management.base import BaseCommand

from runtime.auditing import RULES, find_violations


class Command(BaseCommand):
    help = (
        "Prove that no license was lost or given out twice: name every row that breaks a rule of reconciliation. "
        "Exits with status 1 if there is one. All rules see the same snapshot of the database, and nothing is blocked."
    )

    def add_arguments(self, parser):
        parser.add_argument("--texts", action="store_true", help="also decrypt every key and code (slower)")

    def handle(self, *, texts, **options):
        violations = 0
        for violation in find_violations(texts=texts):
            violations += 1
            self.stdout.write(violation)

        if violations:
            self.stderr.write(f"{violations} violation{'s' if violations > 1 else ''}")
            raise SystemExit(1)
        self.stdout.write(f"Clean: {len(RULES)} rules hold.")
