"""A line while work lasts, on a terminal only; and nothing of it stays."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cr3scope.cli import source_options
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


def test_an_answer_that_takes_long_to_write_is_named_but_not_on_the_terminal_that_shows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named: list[str] = []

    @contextmanager
    def noted(doing: str) -> Iterator[None]:
        named.append(doing)
        yield

    monkeypatch.setattr(source_options, "patience", noted)
    target = str(tmp_path / "answer.json")
    source_options.publish(["{}"], ["text"], (), target)
    assert named == [f"writing {target}", "writing the answer"]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    source_options.publish(["{}"], ["text"], (), None)
    assert len(named) == 2 and capsys.readouterr().out == "text\ntext\n"


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
