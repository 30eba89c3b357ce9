"""Whatever customers read, they read in their language."""

import re
from string import Formatter

import pytest
from django.core.management import call_command

from runtime.translations import LANGUAGES, catalog_of, texts_of


def test_the_files_are_in_step_with_the_sources():
    call_command("translations", check=True)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_is_translated_with_all_that_is_filled_in(language):
    wrong = []
    for message in catalog_of(language):
        if not message.id:
            continue
        source = message.id if isinstance(message.id, str) else message.id[-1]
        texts = texts_of(message)
        if message.fuzzy or not all(texts) or any(filled_in(text) != filled_in(source) for text in texts):
            wrong.append(message.id)

    assert wrong == []


def filled_in(text):
    """The placeholders of a message, of either kind of format."""
    return sorted(re.findall(r"%\(\w+\)[sd]", text) or (name for _, name, _, _ in Formatter().parse(text) if name))
