"""Tables: aligned text where nobody looks, drawn on a terminal; never both."""

from __future__ import annotations

import io
import sys

import pytest

from cr3scope.render.table import WIDTH, Cell, Table, plain
from cr3scope.render.terminal import show

ROWS = ((Cell("a", "error"), Cell("first")), (Cell("longer"), Cell("second")))
TABLE = Table(("name", "what"), ROWS)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_columns_stand_under_their_headings() -> None:
    assert list(plain(TABLE)) == ["name    what", "a       first", "longer  second"]


def test_a_bare_table_has_no_heading_line_and_no_room_for_one() -> None:
    assert list(plain(Table(("a long heading", "what"), ROWS, bare=True))) == [
        "a       first", "longer  second",
    ]  # fmt: skip


def test_a_table_without_rows_is_its_headings() -> None:
    assert list(plain(Table(("name", "what"), ()))) == ["name  what"]
    assert list(plain(Table(("name", "what"), (), bare=True))) == []


def test_a_long_last_field_goes_on_in_its_column() -> None:
    words = " ".join(["word"] * 60)
    lines = list(plain(Table(("name", "what"), ((Cell("x"), Cell(words)),))))
    assert all(len(line) <= WIDTH for line in lines)
    assert [line.index("word") for line in lines[1:]] == [6] * (len(lines) - 1)
    assert " ".join(" ".join(lines[1:]).split()) == f"x {words}"


def test_a_pipe_gets_no_escape_and_does_not_load_rich() -> None:
    before = set(sys.modules)
    stream = io.StringIO()
    show(["head", TABLE], stream)
    assert stream.getvalue() == "head\nname    what\na       first\nlonger  second\n"
    assert not {name for name in set(sys.modules) - before if name.startswith("rich")}


def test_a_terminal_gets_the_same_words_with_colour() -> None:
    stream = Terminal()
    show(["head", TABLE], stream)
    text = stream.getvalue()
    assert "\x1b[1;31m" in text and text.startswith("head\n")
    for word in ("name", "what", "longer", "second"):
        assert word in text


def test_a_narrow_terminal_gets_aligned_text(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Table(("a", "b"), ((Cell("x" * 70), Cell("some words " * 5)),))
    for columns, is_drawn in (("80", False), ("120", True)):
        monkeypatch.setenv("COLUMNS", columns)
        stream = Terminal()
        show([wide], stream)
        assert ("\u2500" in stream.getvalue()) is is_drawn


def test_a_long_table_is_not_drawn() -> None:
    stream = Terminal()
    show([Table(("a", "b"), [(Cell("x", "error"), Cell("y"))] * 3000)], stream)
    assert "\x1b" not in stream.getvalue()


def test_a_styled_line_is_coloured_on_a_terminal_only() -> None:
    for stream, text in ((Terminal(), "\x1b[32m+ new\x1b[0m\n"), (io.StringIO(), "+ new\n")):
        show([Cell("+ new", "added")], stream)
        assert stream.getvalue() == text


def test_markup_of_a_guest_is_text() -> None:
    stream = Terminal()
    show([Table(("name",), ((Cell("[red]x[/red] :smile:"),),))], stream)
    assert "[red]x[/red] :smile:" in stream.getvalue()


def test_no_color_makes_a_terminal_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    show([TABLE], stream)
    assert "\x1b" not in stream.getvalue()
