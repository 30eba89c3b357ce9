import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from merchants.models import User
from merchants.text import remove_invisible, validate_visible

INVISIBLE = "\u200b\u200e\u202e\u2066\ufeff\u00ad\u2060\u180e\u3164\u2800\x7f\x85\u2028\ue000\U000e0041\u061c"


@pytest.mark.parametrize("character", INVISIBLE, ids=ascii)
def test_it_rejects_invisible_characters_in_identifiers_and_removes_them_from_names(character):
    with pytest.raises(ValidationError, match=f"U\\+{ord(character):04X}"):
        validate_visible(f"A-1{character}7")
    assert remove_invisible(f"A{character}da") == "Ada"


@pytest.mark.parametrize("text", ["A-77", "#1001", "Ä/7:1", "№ 5", "注文1", "هه", "é", "e\u0301", "🎁1"])
def test_visible_text_stays_unchanged(text):
    validate_visible(text)
    assert remove_invisible(text) == text


def test_names_keep_the_joiners_that_their_scripts_require():
    assert remove_invisible("می\u200cخواهم") == "می\u200cخواهم"


@pytest.mark.parametrize(
    "password", ["ada.byron@example.com", "ADA.BYRON@example.com!", "xx ada.byron xx", "ada.byron@example.con"]
)
def test_a_password_cannot_contain_the_users_address(password):
    with pytest.raises(ValidationError):
        validate_password(password, User(email="ada.byron@example.com"))


def test_a_password_can_contain_a_short_name():
    validate_password("correct horse ada battery", User(email="ada@example.com"))
