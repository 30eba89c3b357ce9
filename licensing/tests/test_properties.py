"""Custom properties."""

import re

import pytest
from django.test import Client

from licensing.tests.conftest import BASE, NAMESPACE, info, item, xml

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("text", ["<b>&\"'", "Größe 漢字 🎉", "a\r\n\tb", "]]>", "\x01\x1b"])
def test_a_value_is_returned_unchanged_in_json_and_xml(api, text):
    api.post("product", number="P1", name="Photo", note=text)

    assert item(api.get("product/P1"))["note"] == text
    answer = Client().get(BASE + "product/P1", headers={"Authorization": api.headers["Authorization"]})
    returned = {each.attrib["name"]: each.text for each in xml(answer).iter(f"{NAMESPACE}property")}
    assert returned["note"] == re.sub("[\x01\x1b]", "\ufffd", text)


def test_properties_are_changed_one_by_one_and_deleted_with_an_empty_value(api):
    api.post("product", number="P1", name="Photo", color="blue", size="9")

    changed = item(api.post("product/P1", color="", shape="round"))

    assert "color" not in changed
    assert (changed["size"], changed["shape"], changed["name"]) == ("9", "round", "Photo")


def test_it_rejects_a_property_that_is_too_long_and_names_it(api):
    answer = api.post("product", name="Photo", note="a" * 10_001)

    assert answer.status_code == 400
    assert info(answer)[0] == "ValidationException"
    assert info(answer)[1].startswith("note: ")
