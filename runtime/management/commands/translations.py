from django.core.management.base import BaseCommand, CommandError

from runtime.translations import LANGUAGES, catalog_of, files_of, texts_of


class Command(BaseCommand):
    help = (
        "Update locale/ from the sources: add new messages to each django.po, remove old ones, and compile"
        " django.mo. Translate the new messages in django.po."
    )

    def add_arguments(self, parser):
        parser.add_argument("--check", action="store_true", help="change nothing; fail if something would change")

    def handle(self, *, check, **options):
        for language in LANGUAGES:
            catalog = catalog_of(language)
            for path, content in files_of(catalog).items():
                if path.exists() and path.read_bytes() == content:
                    continue
                if check:
                    raise CommandError(f"{path.name} of {language} is behind: run `run.py manage translations`.")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            missing = sum(1 for message in catalog if message.id and not all(texts_of(message)))
            self.stdout.write(f"{language}: {len(catalog)} messages, {missing} to translate.")
