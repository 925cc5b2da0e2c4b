"""A line while work lasts, on a terminal only; and nothing of it stays."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from cr3scope.cli.patience import patience


class Terminal(io.StringIO):
    """Tells when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.was_written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.was_written.set()
        return super().write(text)


def test_long_work_is_named_on_a_terminal_and_the_line_is_taken_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with patience("reading [bold]x\x1b.log", after=0):
        assert stream.was_written.wait(10), "no line within 10 s"
    text = stream.getvalue()
    assert "reading [bold]x\\x1b.log" in text
    assert text.endswith("\x1b[2K") or "\x1b[2K" in text[text.rindex("reading") :]


def test_short_work_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with patience("reading", after=60):
        pass
    assert stream.getvalue() == ""


def test_a_pipe_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with patience("reading", after=0):
        pass
    assert stream.getvalue() == ""


def test_the_line_goes_when_the_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    before = threading.active_count()
    with pytest.raises(ValueError, match="broken"), patience("reading", after=60):
        raise ValueError("broken")
    assert threading.active_count() <= before + 1
