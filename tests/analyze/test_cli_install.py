"""Verbs about the install itself: completion by a real shell, the line for gdb, files, what doctor sees, the manual page."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from boot.reference import ROOT

from cr3scope import places
from cr3scope.cli import doctor_looks, gdb_init
from cr3scope.cli.main import VERBS, main
from cr3scope.render import html

ASK = """
eval "$(cr3scope completion bash)"
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:' COMP_TYPE=9
for COMP_LINE in "$@"; do
    COMP_POINT=${#COMP_LINE} COMPREPLY=()
    _python_argcomplete cr3scope
    echo "${COMPREPLY[*]}"
done
"""


def shell(tmp_path: Path, *command: str) -> list[str]:
    (tmp_path / "cr3scope").symlink_to(ROOT / "scripts/cr3scope")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_bash_completes_verbs_options_values_rules_and_files(tmp_path: Path) -> None:
    capture = ROOT / "tests/captures/golden"
    (tmp_path / "--trees").touch()
    behind = [f"cr3scope {line}" for line in ("maps -- --js", "maps -- --tr", "analyze x --js", "explain -- nx-upper", "run -o x -- qemu --js")]
    lines = ["cr3scope tri", "cr3scope walk x 0 --acc", "cr3scope walk x 0 --access ", "cr3scope explain nx-upper", f"cr3scope maps {capture}"]
    told = shell(tmp_path, "bash", "-c", ASK, "bash", *lines, *behind)
    assert told[:5] == ["triage", "--access", "r w x", "nx-upper-level", f"{capture}.trace"]
    assert told[5:] == ["", "--trees", "--json", "nx-upper-level", ""]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_too(tmp_path: Path) -> None:
    told = shell(tmp_path, "fish", "-c", 'cr3scope completion fish | source; complete -C "cr3scope tri"')
    assert told[0].split()[0] == "triage"


def test_a_missing_completer_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr().err == "cr3scope: completion: this Python has no module argcomplete (Debian: python3-argcomplete)\n"


@pytest.mark.parametrize(("script", "line"), [
    ("/usr/lib/x/cr3scope_gdb.py", "source /usr/lib/x/cr3scope_gdb.py"),
    ("/my tools/it's.py", 'python import runpy; runpy.run_path("/my tools/it\'s.py")'),
])  # fmt: skip
def test_the_line_for_gdb_holds_any_name(script: str, line: str) -> None:
    assert gdb_init.line_for(script) == line


def test_files_are_copied_and_never_over_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["files", "gdb", "-o", str(tmp_path)]) == 0
    assert (tmp_path / "gdb" / places.GDB_SCRIPT).is_file()
    assert main(["files", "gdb", "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"cr3scope: {tmp_path}/gdb: is there already, and stays as it is\n"
    assert main(["files", "-o", str(tmp_path)]) == 2
    (tmp_path / "full").touch()
    assert main(["files", "plugin", "-o", str(tmp_path / "full")]) == 2
    assert f"cr3scope: {tmp_path}/full: " in capsys.readouterr().err


def test_a_missing_file_is_named_with_what_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(places, "PACKAGE", tmp_path / "scripts/analyze/cr3scope")
    assert main(["files", "header"]) == 2
    assert capsys.readouterr().err == f"cr3scope: {tmp_path}/build/cr3scope.h: not there: `make single-header` writes it\n"
    assert main(["files"]) == 0
    assert capsys.readouterr().out.count("(not there)") == len(places.Files)


def test_a_package_right_below_the_root_looks_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It was an internal error."""
    monkeypatch.setattr(places, "PACKAGE", Path("/no-such/cr3scope"))
    assert main(["files"]) == 0
    assert capsys.readouterr().out.count("(not there)") == len(places.Files)


def program(folder: Path, name: str, words: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{words}\n")
    path.chmod(0o755)


def test_doctor_names_what_is_missing_and_what_works_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(tmp_path, "qemu-system-x86_64", "printf 'QEMU emulator version 9.2.1\\033[2J\\n-plugin [file=]\\n'")
    program(tmp_path, "gdb", "echo 'GNU gdb (X) 14.2'; echo 'cr3scope-python 3.12 numpy capstone'")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "capstone", None)
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("cr3scope ") and all(len(line) <= 100 for line in told.splitlines()), told
    for words in (
        "here     QEMU          qemu-system-x86_64 9.2.1\n", "MISSING  capstone      following code\n",
        "MISSING  gdb's Python  3.12, without numpy and capstone\n", "without it: walk, maps, fault and check (of the next fetch) work\n",
        "MISSING  compiler ", "MISSING  plugin ", "apt install python3-capstone gcc ",
    ):  # fmt: skip
        assert words in told, told
    assert "\x1b" not in told


def test_doctor_json_is_what_the_list_says(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "cr3scope.doctor/1"
    here = {one["name"]: one["here"] for one in told["looks"]}
    assert here["numpy"] is True and here["QEMU"] is here["gdb"] is False
    assert main(["doctor", "--json", "-", "--report", "x"]) == 2


def test_the_docs_show_all_that_doctor_looks_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # without gdb, as it is there
    shown = re.findall(r"^(?:here|MISSING) +(\S+)", (ROOT / "docs/install.md").read_text(), re.MULTILINE)
    assert shown == [one.name for one in doctor_looks.looks()]


def test_doctor_waits_for_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not end is one that does not tell its version."""
    program(tmp_path, "gcc", "exec sleep 60")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(doctor_looks.limits, "DOCTOR_SECONDS", 0.2)
    assert doctor_looks._program(("gcc",)) == "gcc"


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It was an internal error."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    html._template.cache_clear()  # another test of this process may have loaded it
    assert main(["analyze", str(ROOT / "tests/captures/nx-upper-level.serial.log"), "--html", str(tmp_path / "page")]) == 2
    told = capsys.readouterr()
    assert "page: not written: this Python has no module jinja2" in told.err and "will fault" in told.out.lower().replace("-", " ")


@pytest.mark.skipif(shutil.which("argparse-manpage") is None, reason="argparse-manpage is not installed (make deps-deb)")
def test_the_manual_page_has_every_verb_and_says_what_the_command_is(tmp_path: Path) -> None:
    target = tmp_path / "cr3scope.1"
    subprocess.run([sys.executable, ROOT / "scripts/packaging/manual_page.py", target], check=True, timeout=60)
    page = target.read_text()
    assert ".SH NAME\ncr3scope \\- tells why" in page and ".SH EXIT STATUS" in page
    plain = page.replace("\\", "")
    assert all(f"'cr3scope {verb}'" in plain or f"cr3scope {verb}" in plain for verb in VERBS)
