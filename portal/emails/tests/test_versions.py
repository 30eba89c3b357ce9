"""Versions of a text are shown side by side and can be restored."""

import re

import pytest

from merchants.models import EmailTemplate, Member
from portal.emails.versions import MAX_VERSIONS

pytestmark = pytest.mark.django_db

TEXTS = {"subject": "Yours: {PROGRAM_NAME}", "body": "Hallo {FNAME},\n\n{KEY}"}
VERSIONS = "/emails/texts/all/de/versions/"


@pytest.fixture
def manager(make_member, client):
    client.force_login(make_member(Member.Role.MANAGER, first_name="Max").user)
    return client


@pytest.fixture
def first(merchant):
    return EmailTemplate.objects.create(merchant=merchant, language="de", saved_by="Ada", **TEXTS)


@pytest.fixture
def second(merchant, first):
    values = TEXTS | {"body": "Guten Tag {FNAME},\n\n{KEY}"}
    return EmailTemplate.objects.create(merchant=merchant, language="de", saved_by="Bo", **values)


def page(client, query=""):
    return client.get(f"{VERSIONS}{query}").content.decode()


def selected(html):
    """The keys of the versions before and after."""
    return re.findall(r'<option value="(\w+)" selected', html)


def marks(html):
    """The texts that are marked as removed and as added."""
    return [
        re.findall(rf"<{tag}><span[^>]*>\[{label} </span>(.*?)<span[^>]*>\]</span></{tag}>", html, re.DOTALL)
        for tag, label in (("del", "removed:"), ("ins", "added:"))
    ]


def test_it_compares_the_current_version_with_the_one_before(manager, first, second):
    html = page(manager)

    assert selected(html) == [str(first.pk), str(second.pk)]
    assert marks(html) == [["Hallo "], ["Guten Tag "]]
    assert "1 word removed" in html and "2 words added" in html
    assert "Saved by Ada" in html and "Saved by Bo" in html
    previews = re.findall(r'<iframe class="preview" src="([^"]*)"[^>]* loading="lazy"', html)
    assert ["Hallo K" in manager.get(url).content.decode() for url in previews] == [True, False]


def test_the_first_version_is_compared_with_keywells_text(manager, first):
    html = page(manager)

    assert selected(html) == ["default", str(first.pk)]
    assert "Guten " in marks(html)[0][1]


def test_any_two_versions_can_be_compared(manager, first, second):
    html = page(manager, f"?old={second.pk}&new=default")

    assert selected(html) == [str(second.pk), "default"]
    assert page(manager, f"?old={first.pk}&new={first.pk}").count("The texts are the same.") == 1
    assert selected(page(manager, f"?new={first.pk}")) == ["default", str(first.pk)]


def test_without_versions_it_shows_keywells_text(manager):
    assert "The texts are the same." in page(manager)


def test_it_says_if_only_spaces_differ(manager, merchant, first):
    EmailTemplate.objects.create(merchant=merchant, language="de", **TEXTS | {"body": "Hallo {FNAME},\n{KEY}"})

    assert "Only spaces and line breaks differ." in page(manager)


def test_texts_are_escaped(manager, merchant, first):
    EmailTemplate.objects.create(merchant=merchant, language="de", subject="<b>", body="<script> {KEY}")

    assert "<script>" not in page(manager) and "&lt;script&gt;" in page(manager)


@pytest.mark.parametrize("key", ["999", "abc", str(10**20), "²"])
def test_unknown_versions_are_not_found(manager, key):
    assert manager.get(f"{VERSIONS}?old={key}").status_code == 404
    assert manager.get(f"{VERSIONS}?new={key}").status_code == 404


def test_versions_of_other_merchants_and_languages_are_not_found(manager, merchant, outsider):
    theirs = EmailTemplate.objects.create(merchant=outsider, language="de", body="theirs {KEY}")
    french = EmailTemplate.objects.create(merchant=merchant, language="fr", body="fr {KEY}")

    for version in (theirs, french):
        for url in (f"{VERSIONS}?old={version.pk}", f"/emails/texts/all/de/restore/{version.pk}/"):
            assert manager.get(url).status_code == 404
        assert manager.post(f"/emails/texts/all/de/restore/{version.pk}/").status_code == 404
    assert EmailTemplate.objects.count() == 2


def test_the_newest_versions_and_the_chosen_ones_can_be_selected(manager, merchant, first):
    numbers = range(MAX_VERSIONS + 5)
    EmailTemplate.objects.bulk_create(
        EmailTemplate(merchant=merchant, language="de", body=f"{number} {{KEY}}") for number in numbers
    )

    html = page(manager, f"?old={first.pk}")

    assert html.count("<option") == 2 * (MAX_VERSIONS + 2)
    assert selected(html)[0] == str(first.pk)


def test_restoring_a_version_saves_it_again(manager, first, second):
    url = f"/emails/texts/all/de/restore/{first.pk}/"
    assert f'href="{url}"' in page(manager)
    assert "Restore this version for All products, Deutsch?" in manager.get(url).content.decode()
    assert EmailTemplate.objects.count() == 2

    answer = manager.post(url, follow=True)

    assert "Version restored. New e-mails use it (All products, Deutsch)." in answer.content.decode()
    restored = EmailTemplate.objects.latest("pk")
    assert (restored.subject, restored.body) == (first.subject, first.body)
    assert restored.saved_by.startswith("Max")
    assert "There is nothing to restore." in manager.post(url, follow=True).content.decode()
    assert EmailTemplate.objects.count() == 3


def test_restoring_keywells_text_resets_the_text(manager, first):
    manager.post("/emails/texts/all/de/restore/default/")

    assert EmailTemplate.objects.latest("pk").is_default
