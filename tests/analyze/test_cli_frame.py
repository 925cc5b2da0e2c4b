"""The frame of the command: exit statuses, one-line complaints, and the launcher."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from trace_writer import golden

from cr3scope.cli.main import VERBS, main
from cr3scope.errors import UnusableInput

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "scripts" / "cr3scope"


def put_verb(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Replaces the verb ``maps`` by one that fails."""

    def run(_arguments: object) -> int:
        raise error

    def add_parser(subparsers: object) -> None:
        subparsers.add_parser("maps").set_defaults(run=run)  # type: ignore[attr-defined]

    module = types.ModuleType("cr3scope.cli.maps")
    setattr(module, "add_parser", add_parser)
    monkeypatch.setitem(sys.modules, "cr3scope.cli.maps", module)
    monkeypatch.delenv("CR3SCOPE_DEBUG", raising=False)


def launch(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LAUNCHER, *words], capture_output=True, text=True, timeout=60,
        env={**os.environ, **environment},
    )  # fmt: skip


def test_unusable_input_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_verb(monkeypatch, UnusableInput("the thing\nat \x1b[2J its place"))
    assert main(["maps"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("cr3scope: the thing") and shown.err.count("\n") == 1
    assert "\x1b" not in shown.err


def test_a_name_that_no_file_can_have_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    name = "x" * 300
    assert main(["analyze", name]) == 2
    assert capsys.readouterr().err == f"cr3scope: {name}: {os.strerror(errno.ENAMETOOLONG)}\n"


def test_an_unexpected_exception_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_verb(monkeypatch, ZeroDivisionError("division by zero"))
    assert main(["maps"]) == 2
    shown = capsys.readouterr().err
    assert "internal error: ZeroDivisionError: division by zero" in shown
    assert "Traceback" not in shown and shown.count("\n") == 1


def test_an_interrupt_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_verb(monkeypatch, KeyboardInterrupt())
    assert main(["maps"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [[], ["bogus"], ["walk"], ["maps", "x", "--cr3", "zz"]])
def test_a_wrong_command_line_is_status_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "usage: cr3scope" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert f"usage: cr3scope {verb}" in capsys.readouterr().out


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


def test_triage_needs_no_numpy() -> None:
    code = "import sys, cr3scope.cli.main, cr3scope.cli.triage; print('numpy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts" / "analyze")},
    )  # fmt: skip
    assert done.stdout == "False\n", done.stderr


def test_the_launcher_runs_from_anywhere_and_through_a_link(tmp_path: Path) -> None:
    link = tmp_path / "cr3scope"
    link.symlink_to(LAUNCHER)
    done = subprocess.run(
        [link, "--version"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert (done.returncode, done.stdout[:9]) == (0, "cr3scope ")


def test_the_launcher_goes_on_to_an_interpreter_that_has_the_libraries(tmp_path: Path) -> None:
    poor = tmp_path / "poor-python"
    # Without site packages, and without those that the environment would add.
    poor.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    poor.chmod(0o755)
    done = launch("--version", CR3SCOPE_PYTHON=str(poor))
    assert (done.returncode, done.stdout[:9]) == (0, "cr3scope "), done.stderr


@pytest.mark.slow
def test_the_launcher_passes_arguments_and_status_through(tmp_path: Path) -> None:
    capture = tmp_path / "with space & more.log"
    capture.write_bytes(golden().data)
    assert launch("walk", capture, "ffffffff80000000").returncode == 0
    assert launch("walk", capture, "0").returncode == 1
    assert launch("walk", tmp_path / "absent", "0").returncode == 2


def test_a_reader_that_goes_away_causes_no_complaint(tmp_path: Path) -> None:
    capture = tmp_path / "capture.log"
    capture.write_bytes(golden().data)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [LAUNCHER, "maps", capture], stdout=writer, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
