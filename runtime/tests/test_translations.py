"""Customers read everything in their language, and so do members of a language that is offered."""

import re
from string import Formatter

import pytest
from django.core.management import CommandError, call_command

from runtime import translations
from runtime.management.commands import translations as command
from runtime.translations import MEMBERS, catalogs, missing_from, texts_of


def test_the_files_are_in_step_with_the_sources():
    call_command("translations", check=True)


def test_every_message_for_customers_is_translated():
    assert [folder for folder, catalog in catalogs() if missing_from(catalog) and MEMBERS not in folder.parents] == []


def test_translations_have_all_that_is_filled_in():
    wrong = []
    for folder, catalog in catalogs():
        for message in catalog:
            ids = [message.id] if isinstance(message.id, str) else message.id
            expected = [filled_in(text) for text in ids]
            if ids[0] and any(text and filled_in(text) not in expected for text in texts_of(message)):
                wrong.append((folder.parent.name, message.id))

    assert wrong == []


def test_a_language_for_members_must_be_complete(monkeypatch):
    monkeypatch.setattr(translations, "_messages_for_members", lambda: ("A new text",))
    with pytest.raises(CommandError, match="locale/members/de is behind"):
        call_command("translations", check=True)

    monkeypatch.setattr(command, "files_of", lambda catalog, folder: {})
    with pytest.raises(CommandError, match="locale/members/de lacks 1 translations, such as of 'A new text'"):
        call_command("translations", check=True)


def filled_in(text):
    """The placeholders of a message, of either kind of format."""
    return sorted(re.findall(r"%\(\w+\)[sd]", text) or (name for _, name, _, _ in Formatter().parse(text) if name))
