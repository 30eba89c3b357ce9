from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from runtime.translations import MEMBERS, catalogs, files_of, missing_from


class Command(BaseCommand):
    help = (
        "Update locale/ from the sources: add new messages to each django.po, remove old ones, and compile"
        " django.mo. Translate the new messages in django.po. To begin a language for members, create its folder in"
        " locale/members/; once it is complete, add it to MEMBER_LANGUAGES."
    )

    def add_arguments(self, parser):
        parser.add_argument(
            "--check",
            action="store_true",
            help="change nothing; fail if something would change or a translation is missing",
        )

    def handle(self, *, check, **options):
        for folder, catalog in catalogs():
            language = str(catalog.locale)
            name = f"{folder.relative_to(settings.BASE_DIR).parent}"
            # Those who translate a language for members bring it up to date.
            is_unfinished = MEMBERS in folder.parents and language not in settings.MEMBER_LANGUAGES
            for path, content in files_of(catalog, folder).items():
                if path.exists() and path.read_bytes() == content or check and is_unfinished:
                    continue
                if check:
                    raise CommandError(f"{path.name} of {name} is behind: run `run.py manage translations`.")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            missing = missing_from(catalog)
            if check and missing and not is_unfinished:
                raise CommandError(f"{name} lacks {len(missing)} translations, such as of {missing[0].id!r}.")
            self.stdout.write(f"{name}: {len(catalog)} messages, {len(missing)} to translate.")
            if is_unfinished and not missing:
                self.stdout.write(f"{name} is complete: add {language!r} to MEMBER_LANGUAGES.")
