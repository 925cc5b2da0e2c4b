"""`cr3scope doctor`: where an internal error comes from, and nothing about whose machine it is."""

from __future__ import annotations

import getpass
import platform
from pathlib import Path
from types import SimpleNamespace

import pytest

from cr3scope import __version__
from cr3scope.cli import doctor, main as frame
from cr3scope.cli.main import main

NAME = "secret-capture"


def put_verb(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let `maps` fail, below a file of the package."""

    def run(_: object) -> int:
        raise error

    def add_parser(subparsers: object) -> None:
        parser = subparsers.add_parser("maps")  # type: ignore[attr-defined]
        parser.add_argument("source")
        parser.set_defaults(run=run)

    real = frame._module
    monkeypatch.setattr(frame, "_module", lambda verb: SimpleNamespace(add_parser=add_parser) if verb == "maps" else real(verb))


def test_the_report_of_an_internal_error_has_its_place_and_leaves_out_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CR3SCOPE_SECRET", "value-of-it")
    where = f"{Path.home()}/{NAME}.log"
    put_verb(monkeypatch, KeyError(f"no {where} of {getpass.getuser()} on {platform.node()}, see {tmp_path}\n\x1b[2J"))
    assert main(["doctor", "--report", str(tmp_path / "report"), "--", "maps", where]) == 0
    assert "read it before" in capsys.readouterr().out
    text = (tmp_path / "report").read_text()
    for words in (f"cr3scope {__version__}", "internal error: KeyError:", "cr3scope.cli.main, line", "in perform", "settings: CR3SCOPE_SECRET"):
        assert words in text
    for secret in (NAME, str(Path.home()) + "/", str(tmp_path), "value-of-it", "\x1b"):
        assert secret not in text
    line = next(line for line in text.splitlines() if line.startswith("internal error"))
    for name in (getpass.getuser(), platform.node()):
        assert name not in line.split()


def test_names_are_left_out_as_words_and_paths_wherever_they_are() -> None:
    [line] = doctor.without(["ann saw /home/ann/x.log, ~/y and annual 1/2 of box"], ["ann", "box", "", "x"])
    assert line == "[...] saw [...], [...] and annual 1/2 of [...]"


@pytest.mark.slow
def test_without_a_command_it_tells_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"cr3scope {__version__}\nPython ") and "numpy " in told


def test_the_line_of_an_internal_error_names_the_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    put_verb(monkeypatch, ZeroDivisionError("division by zero"))
    assert main(["maps", "x"]) == 2
    assert "`cr3scope doctor --report FILE -- VERB ...` writes a report" in capsys.readouterr().err


def test_a_command_that_is_refused_is_no_internal_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--", "analyze", str(tmp_path / "none")]) == 0
    assert "it was refused" in capsys.readouterr().out
