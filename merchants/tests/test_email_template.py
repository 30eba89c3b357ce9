import pytest
from django.core.exceptions import ValidationError

from merchants.email_template import fill, validate_body, validate_subject


def test_an_unknown_tag_is_refused_with_its_place():
    with pytest.raises(ValidationError) as caught:
        validate_body("Hello {FNAME},\nyour key: {KEY} {KEYS}")

    assert caught.value.messages == ["Line 2, column 17: unknown tag {KEYS}. Did you mean {KEY}?"]


def test_a_body_without_the_key_is_refused():
    with pytest.raises(ValidationError, match="Add the tag {KEY}"):
        validate_body("Thank you, {FNAME}.")


def test_an_empty_body_stands_for_the_default():
    validate_body("")


def test_a_subject_with_the_key_is_refused():
    with pytest.raises(ValidationError, match="The subject can’t contain"):
        validate_subject("{KEY} for you")


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [("{ORDER-ID}", "ORDER_ID"), ("{Order ID}", "ORDER_ID"), ("{ FNAME }", "FNAME"), ("{ИМЯ}", "")],
)
def test_what_was_meant_to_be_a_tag_is_refused_too(mistyped, meant):
    hint = f" Did you mean {{{meant}}}?" if meant else ""

    with pytest.raises(ValidationError) as caught:
        validate_body("{KEY} " + mistyped)

    assert caught.value.messages == [f"Line 1, column 7: unknown tag {mistyped}.{hint}"]


def test_braces_that_are_no_tags_are_text():
    validate_body('{KEY} {} {1} {"a": 1} {\n  x\n}')


def test_a_tag_inside_a_value_is_not_filled():
    assert fill("{FNAME}: {KEY}", {"FNAME": "{KEY}", "KEY": "AAAA"}) == "{KEY}: AAAA"
