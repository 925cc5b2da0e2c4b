"""A run's folder: nothing of a user's is removed, and any name reaches QEMU as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

BOOT = Path(__file__).resolve().parents[2] / "scripts/boot"
LEFT_BY_A_RUN = ("cr3scope.cfg", "disk.img", "serial.log", "vars.fd", "verdict.json")


@pytest.fixture
def prepare(tmp_path: Path) -> Path:
    """The script, beside one that makes an empty boot volume."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(BOOT / "prepare", scripts)
    (scripts / "image").write_text('#!/bin/sh\n: >"$1"\n')
    (scripts / "image").chmod(0o755)
    return scripts / "prepare"


def run(script: Path, folder: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script, "build", folder], capture_output=True, text=True, cwd=script.parent.parent, timeout=60)


def put(folder: Path, names: Iterable[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("old")
    return folder


@pytest.mark.parametrize(
    "names", [("thesis.txt",), (*LEFT_BY_A_RUN, "thesis.txt"), (".hidden",), ("disk.img",), ("serial.log disk.img", "cr3scope.cfg")]
)
def test_a_folder_that_is_not_a_runs_is_refused_and_stays(prepare: Path, tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = put(tmp_path / "mine", names)
    done = run(prepare, folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"RUN={folder}: not the folder of a run: it holds " in done.stderr
    assert {path.name for path in folder.iterdir()} == set(names)


def test_a_folder_below_the_name_of_an_output_is_refused(prepare: Path, tmp_path: Path) -> None:
    folder = put(tmp_path / "mine", LEFT_BY_A_RUN[:1])
    put(folder / "serial.log", ("thesis.txt",))
    assert run(prepare, folder).returncode == 2
    assert (folder / "serial.log/thesis.txt").exists() and (folder / "cr3scope.cfg").read_text() == "old"


def test_a_file_in_the_place_of_the_folder_is_refused(prepare: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("old")
    assert run(prepare, tmp_path / "mine").returncode == 2
    assert (tmp_path / "mine").read_text() == "old"


def test_a_runs_folder_is_used_again_and_what_else_is_in_it_stays(prepare: Path, tmp_path: Path) -> None:
    folder = put(tmp_path / "run", LEFT_BY_A_RUN)  # of a release that left no mark
    assert run(prepare, folder).returncode == 0
    assert not (folder / "serial.log").exists() and (folder / "cr3scope.cfg").read_text() == ""
    put(folder, ("notes.txt", "serial.log"))
    assert run(prepare, folder).returncode == 0
    assert (folder / "notes.txt").read_text() == "old" and not (folder / "serial.log").exists()


def test_a_link_in_the_place_of_an_output_is_removed_and_not_followed(prepare: Path, tmp_path: Path) -> None:
    folder = put(tmp_path / "run", LEFT_BY_A_RUN[:1])
    (tmp_path / "precious").write_text("mine")
    (folder / "disk.img").symlink_to(tmp_path / "precious")
    assert run(prepare, folder).returncode == 0
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize("name", ["a b", "a,b", "a'b", 'a"b', "a%d", "a*b", "-a"])
def test_a_folder_may_have_any_name_in_one_line(prepare: Path, tmp_path: Path, name: str) -> None:
    for _ in range(2):
        assert run(prepare, tmp_path / name).returncode == 0
    assert (tmp_path / name / "disk.img").exists()


@pytest.mark.parametrize("name", ["a\nb", "a@@b", ""])
def test_a_name_that_other_tools_cannot_take_is_one_line(prepare: Path, name: str) -> None:
    done = run(prepare, name)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


def test_commas_are_doubled_for_qemu(tmp_path: Path) -> None:
    folder = put(tmp_path / "a,b", ("code,1", "vars,1"))
    done = subprocess.run(
        [BOOT / "qemu-command", folder, folder / "disk.img"], capture_output=True, text=True, timeout=60, check=True,
        env={**os.environ, "OVMF_CODE": f"{folder}/code,1", "OVMF_VARS": f"{folder}/vars,1"},
    )  # fmt: skip
    files = [word.partition("file=")[2] for word in done.stdout.split("\n") if "file=" in word]
    doubled = str(folder).replace(",", ",,")
    assert files == [f"{doubled}/code,,1", f"{doubled}/vars.fd", f"{doubled}/disk.img"]


@pytest.mark.parametrize("name", ["a b", "a'b", "a*b", "a;b", "-a", "a:b", "a,b"])
def test_make_hands_the_name_on_as_it_is(tmp_path: Path, name: str) -> None:
    """And the script gives it a form in which no other program takes it for something else."""
    for script in ("run-trace", "deps"):
        shutil.copy(BOOT / script, tmp_path)
    for script, text in (("prepare", 'printf "%s\\n" "$2" >"$(dirname "$0")/told"'), ("qemu-command", "exit 3")):
        (tmp_path / script).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / script).chmod(0o755)
    make = BOOT.parents[1] / "Makefile"
    rule = next(line for line in make.read_text().split("\n") if "scripts/boot/run-trace" in line and "$(BUILD)" in line)
    quoted = next(line for line in make.read_text().split("\n") if line.startswith("quoted ="))
    (tmp_path / "Makefile").write_text(f"BUILD = build\n{quoted}\nall:\n{rule.replace('scripts/boot/', str(tmp_path) + '/')}\n")
    subprocess.run(["make", "-s", "-C", tmp_path, f"RUN={name}"], capture_output=True, timeout=60)
    assert (tmp_path / "told").read_text() in (f"{name}\n", f"./{name}\n")
    assert (tmp_path / "told").read_text().startswith("./") is (name in ("-a", "a:b"))


def make(target: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-s", target, f"BUILD={folder}"], cwd=BOOT.parents[1], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


@pytest.mark.slow
def test_clean_removes_what_was_made_and_nothing_of_a_users(tmp_path: Path) -> None:
    own = tmp_path / "own"
    assert make(f"{own}/toolchain", own).returncode == 0
    (own / "notes").write_text("mine")
    done = make("clean", own)
    assert (done.returncode, [each.name for each in own.iterdir()]) == (0, ["notes"])
    assert done.stderr == f"clean: what else is in {own} stays\n"
    assert make("clean", own).returncode == 2  # what comes there now is not known to be made here
    (own / "notes").unlink()
    assert make(f"{own}/toolchain", own).returncode == 0 and make("clean", own).returncode == 0
    assert not own.exists() and make("clean", own).returncode == 0


def test_clean_leaves_a_folder_as_it_is_that_was_somebodys_before(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/main.c").write_text("mine")
    assert make(f"{tmp_path}/toolchain", tmp_path).returncode == 0
    done = make("clean", tmp_path)
    assert done.returncode == 2 and (tmp_path / "kernel/main.c").read_text() == "mine"
    assert done.stderr.startswith(f"clean: BUILD={tmp_path} held other files before it was built into: nothing was removed\n")
