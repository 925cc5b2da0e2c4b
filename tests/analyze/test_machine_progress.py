"""The line of progress is one line, and only a terminal gets it."""

from __future__ import annotations

import io
import sys

import pytest

from cr3scope.qemu.progress import Figures, Progress, words

FIGURES = Figures(12.3, 5 << 20, 3000, 77, b"\x1b[2Jbooting \x07 kernel\r")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_line_holds_the_figures_and_nothing_that_steers_a_terminal() -> None:
    line = words(FIGURES)
    assert line.startswith("12 s, log 5120 KiB (3000 records), serial 77 bytes, last: ")
    assert line.isprintable() and "kernel" in line


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_is_shown_progress(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    progress = Progress()
    progress.show(FIGURES)
    progress.close()
    assert ("3000 records" in stream.getvalue()) is terminal


def test_a_short_run_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress()
    progress.show(Figures(0.4, 0, 0, 0, b""))
    progress.close()
    assert stream.getvalue() == ""


class Gone(Terminal):
    """A terminal whose window was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def test_a_terminal_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Gone())
    monkeypatch.setenv("TERM", "xterm")
    progress = Progress()
    for _ in range(2):
        progress.show(FIGURES)
    progress.close()
