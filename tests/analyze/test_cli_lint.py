"""``cr3scope lint``: one line for what cannot be read, statuses, and JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from analyze.lint_files import Image, Kernel, written

from cr3scope.cli.main import main
from cr3scope.diagnose.catalogue import BY_ID

WARNED = Image(section_alignment=0x200)
BROKEN = Kernel(entry=0)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    made = {"good": Kernel().bytes(), "warned": WARNED.bytes(), "broken": BROKEN.bytes(), "junk": b"no kernel\n", "empty": b"",
            "mz": b"MZ" + bytes(100), "cut": Kernel().bytes()[:70], "arm": Kernel(machine=183).bytes(), "object": Kernel(kind=1).bytes(),
            "arm.efi": Image(machine=0xAA64).bytes()}  # fmt: skip
    return {name: str(written(tmp_path / name, data)) for name, data in made.items()}


@pytest.mark.parametrize(("names", "status"), [(["good"], 0), (["warned"], 0), (["broken"], 1), (["good", "broken"], 1), (["broken", "junk"], 2)])
def test_the_worst_of_the_files_is_the_status(names: list[str], status: int, files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", *(files[name] for name in names)]) == status
    shown = capsys.readouterr()
    assert [f"{files[name]}:" in shown.out for name in names if name != "junk"] == [True] * (len(names) - ("junk" in names))


@pytest.mark.parametrize(("name", "why"), [
    ("junk", "neither an ELF file, nor a UEFI image, nor a Linux kernel"), ("empty", "empty"), ("mz", "has no PE header"),
    ("cut", "damaged ELF file"), ("arm", "of another machine (e_machine 183)"), ("object", "not linked yet"),
    ("arm.efi", "another machine (machine 0xaa64"),
])  # fmt: skip
def test_what_is_nothing_that_boots_is_one_line(name: str, why: str, files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", files[name]]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and files[name] in shown.err and why in shown.err


def test_what_is_no_file_is_not_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert main(["lint", str(tmp_path / "pipe"), str(tmp_path), "/dev/zero", str(tmp_path / "absent"), "a\0b"]) == 2
    assert capsys.readouterr().err.count("\n") == 5


def test_json_has_every_file_and_nothing_else_is_printed(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", files["good"], files["broken"], files["junk"], "--json", "-"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "cr3scope.lint/1"
    good, broken, junk = document["files"]
    assert (good["error"], good["forms"], good["findings"]) == (None, ["ELF64"], [])
    (finding,) = broken["findings"]
    assert finding["rule"] == "wrong-entry" and finding["severity"] == "error" and finding["rule"] in BY_ID
    assert junk["error"].startswith(files["junk"])


def test_names_in_a_file_steer_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "k\x1b[31m", Kernel(undefined=("\x1b[2J", "x\ny")).bytes())
    assert main(["lint", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\\x1b[2J" in shown
