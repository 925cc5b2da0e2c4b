"""Pipes, devices, terminals and sockets where a verb wants a file: one line, at once; whoever is waited for is named."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from analyze.test_cli_patience import Terminal

from cr3scope import limits
from cr3scope.cli import patience as patience_module
from cr3scope.cli.main import main

CAPTURE = str(Path(__file__).resolve().parents[1] / "captures/nx-upper-level.serial.log")
WAIT_SECONDS = 20
VERBS = {"log": ["analyze", CAPTURE, "--log"], "elf": ["analyze", CAPTURE, "--elf"], "triage": ["triage"], "lint": ["lint"]}
KINDS = {"pipe": "a pipe", "socket": "a socket", "device": "a device", "terminal": "a device"}


class Log(Terminal):
    """Standard error that nobody looks at."""

    def isatty(self) -> bool:
        return False


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, str]]:
    os.mkfifo(tmp_path / "pipe")
    there = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tmp_path)
    there.bind("socket")
    ours, theirs = os.openpty()
    yield {"pipe": "pipe", "socket": "socket", "device": "/dev/zero", "terminal": os.ttyname(theirs)}
    for end in (ours, theirs):
        os.close(end)
    os.chdir(here)
    there.close()


@pytest.mark.parametrize(
    ("verb", "kind"),
    [(verb, kind) for verb in VERBS for kind in KINDS if (verb, kind) != ("triage", "pipe")],  # which it copies into a file
)
def test_what_is_read_at_any_place_is_a_file_and_nobody_waits_for_another(
    verb: str, kind: str, places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with open(places["pipe"], "r+b", buffering=0):  # who waits for one all the same gets an answer, and is found out by what he says
        assert main([*VERBS[verb], places[kind]]) == 2
    assert capsys.readouterr().err == f"cr3scope: {places[kind]}: {KINDS[kind]}, not a file\n"


@pytest.mark.parametrize("words", [["analyze"], ["triage"], ["maps"], ["maps", "--tree"], ["walk", "0"], ["map", "0"], ["diff", CAPTURE]], ids=" ".join)
def test_who_is_waited_for_is_named_where_no_line_can_be_shown(
    words: list[str], places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Log()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(patience_module, "_WAITED_SECONDS", 0.0)
    named = threading.Event()

    def speak() -> None:
        with open(places["pipe"], "wb"):
            named.set() if stream.was_written.wait(WAIT_SECONDS) else None

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    verb, *others = words
    assert main([verb, places["pipe"], *others] if others != ["--tree"] and verb != "diff" else [*words, places["pipe"]]) == 2
    speaker.join(WAIT_SECONDS)
    assert named.is_set()
    assert stream.getvalue().startswith("cr3scope: pipe: read until the other end is closed (Ctrl-C ends)\n")


def test_of_a_plain_file_nobody_says_that_it_is_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(patience_module, "_WAITED_SECONDS", 0.0)
    assert main(["maps", CAPTURE]) == 0
    assert capsys.readouterr().err == ""


def test_what_comes_through_a_pipe_without_end_is_bounded(
    places: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(limits, "PIPE_BYTES", 1 << 20)

    def speak() -> None:
        with open(places["pipe"], "wb") as pipe:
            pipe.write(b"y\n" * (3 << 19))

    speaker = threading.Thread(target=lambda: pytest.raises(BrokenPipeError, speak), daemon=True)
    speaker.start()
    assert main(["maps", places["pipe"]]) == 2
    speaker.join(WAIT_SECONDS)
    assert capsys.readouterr().err == "cr3scope: pipe: more than 1 MiB come through this pipe: put them into a file\n"
