"""Options that name a file to be written, of all verbs: ``-`` is standard output, or one line says why not; and what stands behind `--`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from analyze.lint_files import Kernel, written
from boot.reference import ROOT
from trace_writer import golden

from cr3scope.cli.main import VERBS, main, whole_parser
from cr3scope.cli.outputs import OUTPUTS

CAPTURE = ROOT / "tests/captures/nx-upper-level.serial.log"
LOG = ROOT / "tests/captures/qemu-7.2.stack-unmapped.interrupts.log"
FAKE = str(ROOT / "tests/analyze/fake_qemu.py")
READ = {"elf", "capture", "root", "files", "log"}  # what names a file or a folder that is read
LINES: dict[str, list[str]] = {
    "analyze": [str(CAPTURE)], "triage": [str(LOG)], "maps": [str(CAPTURE)], "map": [str(CAPTURE)], "walk": [str(CAPTURE), "0"],
    "diff": [str(CAPTURE), str(CAPTURE)], "lint": ["kernel.elf"], "explain": [], "doctor": [],
}  # fmt: skip
SHAPES: dict[str, Callable[[str], bool]] = {
    "json": lambda text: json.loads(text)["schema"].startswith("cr3scope."), "html": lambda text: text.startswith("<!DOCTYPE html>"),
    "junit": lambda text: text.startswith("<?xml"), "sarif": lambda text: json.loads(text)["version"] == "2.1.0",
    "markdown": lambda text: text.startswith("#"), "codequality": lambda text: isinstance(json.loads(text), list),
    "report": lambda text: text.startswith("cr3scope 0."),
}  # fmt: skip


def options() -> Iterator[tuple[str, str, argparse.Action]]:
    """Each option that names a file or a folder: its verb, its name, and what argparse knows of it."""
    (verbs,) = (one for one in whole_parser()._actions if isinstance(one, argparse._SubParsersAction))
    for verb, parser in verbs.choices.items():
        for action in parser._actions:
            if action.option_strings and str(action.metavar).split("[")[0] in ("FILE", "DIR", "INTLOG"):
                yield verb, action.option_strings[0], action


WRITTEN = [(verb, option, action) for verb, option, action in options() if action.dest not in READ]
FILES = [(verb, action.dest) for verb, _, action in WRITTEN if action.metavar == "FILE"]
FOLDERS = [(verb, option) for verb, option, action in WRITTEN if action.metavar == "DIR"]


def test_each_option_that_names_a_file_to_be_written_is_known_to_the_rule() -> None:
    assert len(FILES) > 25 and {name for _, name in FILES} == set(OUTPUTS) == set(SHAPES)
    assert set(FOLDERS) == {("run", "-o"), ("listen", "-o"), ("files", "-o")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in; afterwards no file of it is called ``-``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb, name in FILES if verb not in ("run", "listen")])
def test_a_dash_is_standard_output_and_nothing_else_goes_there(
    verb: str, name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(folder / "kernel.elf", Kernel(entry=0).bytes())
    words = [verb, *LINES[verb]]
    status = main(words)
    capsys.readouterr()
    assert main([*words, f"--{name}", "-"]) == status
    assert SHAPES[name](capsys.readouterr().out)
    assert [each.name for each in folder.iterdir()] == ["kernel.elf"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for verb, name in FILES if verb == "run"])
def test_of_a_run_too(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--no-who", f"--{name}", "-", "--", sys.executable, FAKE, "exit-35"])
    assert SHAPES[name](capsys.readouterr().out)
    assert [each.name for each in folder.iterdir()] == ["cr3scope-run"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for verb, name in FILES if verb == "listen"])
def test_listening_gives_to_standard_output_what_two_boots_can_share(name: str, folder: Path) -> None:
    done = subprocess.run(
        [ROOT / "scripts/cr3scope", "listen", "-", "-q", f"--{name}", "-"], input=golden().data, capture_output=True, timeout=60, check=False
    )
    said = done.stderr.decode()
    if name in ("json", "markdown"):
        assert SHAPES[name](done.stdout.decode()), said
    else:
        assert done.returncode == 2
        assert not done.stdout if name == "html" else SHAPES[name](done.stdout.decode())  # it tells of the error, as of any
        assert said == f"cr3scope: --{name} -: a document for each boot would be none together: --{name} FILE has that of the last one\n"
    assert {each.name for each in folder.iterdir()} <= {"cr3scope-listen"}


@pytest.mark.parametrize(("verb", "option"), FOLDERS)
def test_a_folder_is_never_standard_output(verb: str, option: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"run": ["--", "true"], "listen": ["-"], "files": ["header"]}[verb]
    with pytest.raises(SystemExit) as ended:
        main([verb, option, "-", *words])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("a folder, which standard output is not (./- is one of that name)\n")
    assert not list(folder.iterdir())


@pytest.mark.parametrize(("verb", "name"), [each for each in FILES if each[0] in LINES and LINES[each[0]]])
def test_a_file_that_is_read_is_not_written_over(verb: str, name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"triage": LOG.read_bytes(), "lint": Kernel(entry=0).bytes()}.get(verb, CAPTURE.read_bytes())
    (folder / "kept").write_bytes(content)
    (folder / "link").symlink_to("kept")
    for read in ("kept", "link"):
        words = [read if word in (str(CAPTURE), str(LOG), "kernel.elf") else word for word in LINES[verb]]
        assert main([verb, *words, f"--{name}", "./kept"]) == 2
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"cr3scope: --{name} ./kept: that file is read, and would be gone: name another\n")
    assert (folder / "kept").read_bytes() == content


def test_nor_is_a_twin_a_log_or_a_disk(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "kept").write_bytes(Kernel(entry=0).bytes())
    for words in (
        ["analyze", str(CAPTURE), "--elf", "kept@1000"], ["analyze", str(CAPTURE), "--log", "kept"], ["triage", str(LOG), "--capture", "kept"],
    ):  # fmt: skip
        assert main([*words, "--html", "kept"]) == 2, words
    for disk in ("kept", "file=kept,format=raw"):
        assert main(["run", "--no-who", "--json", "kept", "--", sys.executable, FAKE, "exit-35", disk]) == 2
    assert capsys.readouterr().err.count("that file is read") == 5
    assert (folder / "kept").read_bytes() == Kernel(entry=0).bytes() and [each.name for each in folder.iterdir()] == ["kept"]


def test_a_file_of_that_name_is_written_by_its_path(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["walk", str(CAPTURE), "0", "--json", "./-"]) == 1
    assert json.loads((folder / "-").read_text())["schema"] == "cr3scope.walk/1"
    assert not capsys.readouterr().out.startswith("{")


@pytest.mark.parametrize(("verb", "more"), [("maps", []), ("map", []), ("walk", ["0"]), ("analyze", []), ("triage", []), ("lint", [])])
def test_behind_two_dashes_a_file_may_be_called_like_an_option(
    verb: str, more: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"triage": LOG.read_bytes(), "lint": Kernel(entry=0).bytes()}.get(verb, CAPTURE.read_bytes())
    for name in ("plain", "--json", "-h", "--"):
        (folder / name).write_bytes(content)
    status = main([verb, "plain", *more])
    told = capsys.readouterr().out
    for name in ("--json", "-h", "--"):
        assert main([verb, "--", name, *more]) == status
        assert capsys.readouterr().out == told.replace("plain", name)


def test_options_before_two_dashes_count_and_none_behind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "--tree").write_bytes(CAPTURE.read_bytes())
    assert main(["maps", "--json", "-", "--", "--tree"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "cr3scope.maps/1"
    assert main(["diff", "--json", "-", "--", "--tree", "--tree"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"] == []
    with pytest.raises(SystemExit):
        main(["maps", "--", "--tree", "--json"])
    assert capsys.readouterr().err.endswith("error: unrecognized arguments: --json\n")
    with pytest.raises(SystemExit):
        main(["explain", "--", "--json", "-"])
    assert "unrecognized arguments: -" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_takes_what_is_behind_two_dashes_for_its_options(verb: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` would print it and end with 0."""
    try:
        status = main([verb, "--", "--help"])
    except SystemExit as error:
        status = int(str(error.code))
    assert "show this help message" not in capsys.readouterr().out
    assert status == (0 if verb == "doctor" else 2)  # whose report says that there is no such command
