"""Text of a guest's, as it may be printed."""

from __future__ import annotations

from cr3scope import text
from cr3scope.text import printable


def test_what_could_steer_a_terminal_is_an_escape() -> None:
    assert printable("a\0\u202e\x1b\u00e9\U0010ffff") == "a\\x00\\u202e\\x1b\u00e9\\U0010ffff"


def test_no_more_escapes_are_kept_than_a_bound() -> None:
    assert printable("".join(map(chr, range(0x3000)))).isprintable()
    assert 0 < len(text._ESCAPES) <= text._MOST_ESCAPES
