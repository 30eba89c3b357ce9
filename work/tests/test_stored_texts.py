"""Stored sentences are English, and shown in the language of the reader."""

import pytest
from django.utils import translation

from portal.tests.translating import install
from work.stored_texts import in_english, show_stored


@pytest.fixture(autouse=True)
def german(settings, tmp_path):
    messages = {
        "The order is {status}.": "Die Bestellung ist {status}.",
        "deleted": "gelöscht",
        "Orders": "Bestellungen",
        "The service answered {status}.": "Der Dienst antwortete {status}.",
        "The service answered {status}, a redirect.": "Der Dienst antwortete {status}, eine Umleitung.",
        "Last error: {error}": "Letzter Fehler: {error}",
        "{product} is gone.": "{product} ist weg.",
        ("{count} line is long.", "{count} lines are long."): ("{count} Zeile ist lang.", "{count} Zeilen sind lang."),
        "{host} was silent for {timeout:g} seconds.": "{host} schwieg {timeout:g} Sekunden.",
        ("Sent to {name}.", "{count:,} sent to {name}."): ("{count:,} an {name}.", "{count:,} an {name}."),
    }
    install(settings, tmp_path, "de", messages)
    with translation.override("de"):
        yield


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("The order is deleted.", "Die Bestellung ist gelöscht."),
        ("The service answered 503.", "Der Dienst antwortete 503."),
        ("The service answered 302, a redirect.", "Der Dienst antwortete 302, eine Umleitung."),
        ("Last error: The service answered 503.", "Letzter Fehler: Der Dienst antwortete 503."),
        ("The order is deleted. The service answered 503.", "Die Bestellung ist gelöscht. Der Dienst antwortete 503."),
        ("1 line is long.", "1 Zeile ist lang."),
        ("1,200 lines are long.", "1.200 Zeilen sind lang."),
        ("A was silent for 2.5 seconds.", "A schwieg 2.5 Sekunden."),
        ("A was silent for Ten seconds.", "A schwieg Ten Sekunden."),
        ("1,200 sent to Ada.", "1.200 an Ada."),
        ("Sent to Ada.", "1 an Ada."),
        (f"{'9' * 5000} lines are long.", f"{'9' * 5000} Zeile ist lang."),  # more digits than Python reads
        ("Last error: Bad luck. Try again.", "Letzter Fehler: Bad luck. Try again."),
        ("Orders is gone.", "Orders ist weg."),  # a name, not a message
        ("550 5.1.1 no such user", "550 5.1.1 no such user"),
        ("", ""),
    ],
)
def test_a_stored_sentence_is_shown_in_the_readers_language(stored, shown):
    assert show_stored(stored) == shown


def test_texts_to_store_are_composed_in_english():
    with in_english():
        assert translation.gettext("deleted") == "deleted"
        assert show_stored("The order is deleted.") == "The order is deleted."
    assert translation.gettext("deleted") == "gelöscht"
