import pytest
from django.core.exceptions import ValidationError

from merchants.email_template import fill, validate_body, validate_subject


def test_it_rejects_an_unknown_tag_and_names_its_position():
    with pytest.raises(ValidationError) as caught:
        validate_body("Hello {FNAME},\nyour key: {KEY} {KEYS}")

    assert caught.value.messages == ["Line 2, column 17: unknown tag {KEYS}. Did you mean {KEY}?"]


def test_it_rejects_a_body_without_the_key():
    with pytest.raises(ValidationError, match="Add the tag {KEY}"):
        validate_body("Thank you, {FNAME}.")


def test_an_empty_body_means_the_default():
    validate_body("")


def test_it_rejects_a_subject_with_the_key():
    with pytest.raises(ValidationError, match="The subject can’t contain"):
        validate_subject("{KEY} for you")


@pytest.mark.parametrize(
    ("mistyped", "suggestion"),
    [("{ORDER-ID}", "ORDER_ID"), ("{Order ID}", "ORDER_ID"), ("{ FNAME }", "FNAME"), ("{ИМЯ}", "")],
)
def test_it_rejects_mistyped_tags(mistyped, suggestion):
    hint = f" Did you mean {{{suggestion}}}?" if suggestion else ""

    with pytest.raises(ValidationError) as caught:
        validate_body("{KEY} " + mistyped)

    assert caught.value.messages == [f"Line 1, column 7: unknown tag {mistyped}.{hint}"]


def test_braces_that_are_not_tags_are_text():
    validate_body('{KEY} {} {1} {"a": 1} {\n  x\n}')


def test_a_tag_inside_a_value_is_not_filled():
    assert fill("{FNAME}: {KEY}", {"FNAME": "{KEY}", "KEY": "AAAA"}) == "{KEY}: AAAA"
