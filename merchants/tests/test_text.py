import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from merchants.models import User
from merchants.text import remove_invisible, validate_visible

UNSEEN = "\u200b\u200e\u202e\u2066\ufeff\u00ad\u2060\u180e\u3164\u2800\x7f\x85\u2028\ue000\U000e0041\u061c"


@pytest.mark.parametrize("character", UNSEEN, ids=ascii)
def test_what_nobody_sees_is_refused_in_what_identifies_and_removed_from_names(character):
    with pytest.raises(ValidationError, match=f"U\\+{ord(character):04X}"):
        validate_visible(f"A-1{character}7")
    assert remove_invisible(f"A{character}da") == "Ada"


@pytest.mark.parametrize("text", ["A-77", "#1001", "Ä/7:1", "№ 5", "注文1", "هه", "é", "e\u0301", "🎁1"])
def test_what_is_seen_is_left_alone(text):
    validate_visible(text)
    assert remove_invisible(text) == text


def test_names_keep_the_joiners_that_their_scripts_are_spelled_with():
    assert remove_invisible("می\u200cخواهم") == "می\u200cخواهم"


@pytest.mark.parametrize(
    "password", ["ada.byron@example.com", "ADA.BYRON@example.com!", "xx ada.byron xx", "ada.byron@example.con"]
)
def test_a_password_does_not_hold_its_owners_address(password):
    with pytest.raises(ValidationError):
        validate_password(password, User(email="ada.byron@example.com"))


def test_a_short_name_may_stand_in_a_password():
    validate_password("correct horse ada battery", User(email="ada@example.com"))
