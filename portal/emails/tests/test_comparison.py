"""Differences between texts are found word by word, in bounded time."""

import random
import time

import pytest

from portal.emails.comparison import MarkedPiece, compare_texts

MAX_LENGTH = 20_000  # characters of a text


def changed(pieces):
    return [piece.text for piece in pieces if piece.is_changed]


def test_it_marks_the_words_that_were_removed_and_added():
    found = compare_texts(
        "Hello {FNAME},\n\nhere is your key:\n\n{KEY}", "Hi {FNAME},\n\nhere is it:\n\n{KEY}\n\nBye!"
    )

    assert changed(found.old) == ["Hello ", "your key:"]
    assert changed(found.new) == ["Hi ", "it:", "\n\nBye!"]
    assert (found.removed, found.added) == (3, 3)


def test_equal_texts_have_no_marks():
    found = compare_texts("Hello\n{KEY}", "Hello\n{KEY}")

    assert found.is_equal and found.old == found.new == [MarkedPiece("Hello\n{KEY}", is_changed=False)]
    assert compare_texts("", "").is_equal


def test_a_moved_end_of_a_line_marks_only_the_line_break():
    found = compare_texts("one two three", "one two\nthree")

    assert (changed(found.old), changed(found.new), found.added) == ([], ["\n"], 0)
    assert [piece.marked for piece in found.new if piece.is_changed] == ["↵\n"]


def test_a_small_change_in_a_long_text_is_marked_by_words():
    words = [f"word{number}" for number in range(2000)]
    old, new = " ".join(words), " ".join([*words[:1000], "other", *words[1001:]])

    assert changed(compare_texts(old, new).new) == ["other "]


def test_large_changes_are_marked_by_lines():
    lines = [" ".join(f"{number}-{word}" for word in range(20)) for number in range(100)]
    new = [*(f"new {line}" for line in lines[:30]), *lines[30:60], *(f"new {line}" for line in lines[60:])]

    found = compare_texts("\n".join(lines), "\n".join(new))

    assert len(changed(found.old)) == 2 and "30-0" not in "".join(changed(found.old))


def make_text(rng, words, separator):
    pieces, length = [], 0
    while length < MAX_LENGTH:
        pieces.append(rng.choice(words))
        length += len(pieces[-1]) + 1
    return separator.join(pieces)[:MAX_LENGTH]


@pytest.mark.parametrize("separator", [" ", "\n"])
@pytest.mark.parametrize("size", [2, 30, 90, 1000])
def test_the_longest_texts_take_less_than_a_second(size, separator):
    rng = random.Random(size)  # noqa: S311
    words = [str(number) for number in range(size)]
    few = [str(number) for number in range(499)]
    inserted = [word for number in few for word in (number, f"x{number}")]
    pairs = [
        (make_text(rng, words, separator), make_text(rng, words, separator)),
        (separator.join(few * 2), separator.join(["new", *inserted])),
        ("\n" * MAX_LENGTH, f"a{separator * (MAX_LENGTH - 2)}b"),
    ]
    for old, new in pairs:
        started = time.process_time()
        found = compare_texts(old, new)

        assert time.process_time() - started < 1
        assert "".join(piece.text for piece in found.old) == old
        assert "".join(piece.text for piece in found.new) == new
