"""The worked examples of docs/contributing.md, put where the page says in a copy of the package, and used there."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from analyze.core_builder import CODE, NEW, NX, OLD, STACK, memory
from boot.reference import ROOT

PAGE = (ROOT / "docs/contributing.md").read_text()
CAPTURES = ROOT / "tests/captures"
RULE = "diagnose/rules/switch/root_in_low_memory.py"
CATALOGUE = "diagnose/catalogue.py"
MEMORY = "target/hex_memory.py"
FORMAT = "input/logs/formats/toyemu.py"


def block(after: str, kind: str = "python") -> str:
    """The first block of the page behind a line that begins with some words."""
    match = re.search("^" + re.escape(after) + rf".*?^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert match is not None, after
    return match[1]


class Tree:
    """A copy of the package, to be changed."""

    def __init__(self, folder: Path) -> None:
        shutil.copytree(ROOT / "scripts/analyze", folder / "analyze", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy2(ROOT / "scripts/cr3scope", folder)
        self.folder, self.package = folder, folder / "analyze/cr3scope"
        self.environment = {**os.environ, "CR3SCOPE_PYTHON": sys.executable, "PYTHONDONTWRITEBYTECODE": "1"}

    def add(self, path: str) -> None:
        assert not (self.package / path).exists()
        (self.package / path).write_text(block(f"`{path}`"))

    def edit(self, path: str, before: str, new: str) -> None:
        text = (self.package / path).read_text()
        assert text.count(before) == 1, before
        (self.package / path).write_text(text.replace(before, new + before))

    def touched(self) -> set[str]:
        return set(_differences(filecmp.dircmp(ROOT / "scripts/analyze/cr3scope", self.package), ""))

    def cr3scope(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self._run([self.folder / "cr3scope", *arguments])

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-c", f"import sys; sys.path.insert(0, {str(self.folder / 'analyze')!r})\n{code}"])

    def verdict(self, *arguments: str | Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cr3scope(*arguments, "--json", "-").stdout)
        return found

    def _run(self, command: list[str | Path]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)


def _differences(compared: filecmp.dircmp[str], folder: str) -> Iterator[str]:
    different = (*compared.left_only, *compared.right_only, *compared.diff_files)
    yield from (folder + name for name in different if name != "__pycache__")
    for name, below in compared.subdirs.items():
        yield from _differences(below, f"{folder}{name}/")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def rules(verdict: dict[str, Any]) -> list[str]:
    return [finding["rule"] for finding in verdict["findings"]]


@pytest.mark.slow
def test_a_rule_is_one_file_and_its_entry_in_the_catalogue(tree: Tree) -> None:
    taken, entry = block(f"`{CATALOGUE}`").splitlines()
    tree.add(RULE)
    tree.edit(CATALOGUE, "\nRULES: ", f"{taken}\n")
    tree.edit(CATALOGUE, "    access_fault.RULE,\n", f"{entry}\n")
    assert tree.touched() == {RULE, CATALOGUE}

    low = tree.verdict("analyze", CAPTURES / "golden.trace")
    found = next(each for each in low["findings"] if each["rule"] == "root-in-low-memory")
    assert found["facts"] == {"root": "0x1000", "cr3": "0x1000"}
    assert "the top table lies at 0x1000, in the first MiB" in tree.cr3scope("analyze", CAPTURES / "golden.trace").stdout
    healthy = tree.verdict("analyze", CAPTURES / "healthy.serial.log")
    assert (healthy["verdict"], rules(healthy)) == ("healthy", [])
    explained = tree.cr3scope("explain", "root-in-low-memory")
    assert explained.returncode == 0 and "legacy firmware write below 1 MiB" in explained.stdout


def test_each_file_of_a_rule_has_its_entry_in_the_catalogue() -> None:
    from cr3scope.diagnose.catalogue import RULES

    folder = ROOT / "scripts/analyze/cr3scope/diagnose/rules"
    files = {file.stem.replace("_", "-") for file in folder.glob("*/[a-z]*.py")}
    assert files == {rule.id for rule in RULES}


def hex_lines(pages: dict[int, bytes]) -> list[str]:
    """As xxd prints them, with the characters at the end."""
    lines = []
    for phys, data in pages.items():
        for at in range(0, len(data), 16):
            words = " ".join(data[at + each : at + each + 2].hex() for each in range(0, 16, 2))
            lines.append(f"{phys + at:08x}: {words}  ................")
    return lines


def ask_hex_memory(tree: Tree, lines: list[str]) -> list[str]:
    """What the page's own lines print about a CPU that has such a memory, right before its switch."""
    dumped = tree.folder / "memory.hex"
    dumped.write_text("\n".join(lines))
    registers = {"CR0": 0x80010001, "CR4": 0x20, "EFER": 0xD00, "CR3": OLD, "RIP": CODE, "RAX": NEW, "RSP": STACK + 0x800}
    done = tree.python(
        "from cr3scope.diagnose.next_causes import next_causes\n"
        "from cr3scope.model.code_prediction import predict_code\n"
        "from cr3scope.paging.walk import walk\n"
        "from cr3scope.render.finding import fix\n"
        "from cr3scope.target.hex_memory import HexMemory\n"
        "from cr3scope.target.stopped_cpu import StoppedCpu\n"
        f"lines, registers = open({str(dumped)!r}), {registers!r}\n" + block("What is asked of it:")
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_kind_of_memory_is_one_file_of_at_most_40_lines(tree: Tree) -> None:
    tree.add(MEMORY)
    assert tree.touched() == {MEMORY}
    assert len(block(f"`{MEMORY}`").splitlines()) <= 40
    walked, *found = ask_hex_memory(tree, hex_lines(memory(veto=NX)))
    assert walked == hex(CODE)
    (only,) = found
    assert only.startswith("nx-upper-level: clear NX (bit 63) of PML4[0] (then 0x12003). ")


@pytest.mark.slow
def test_a_healthy_memory_has_no_finding(tree: Tree) -> None:
    tree.add(MEMORY)
    assert ask_hex_memory(tree, hex_lines(memory())) == [hex(CODE)]


@pytest.mark.slow
def test_a_memory_may_have_holes_and_lines_that_are_none(tree: Tree) -> None:
    tree.add(MEMORY)
    pages = memory()
    del pages[OLD]
    assert ask_hex_memory(tree, ["00zz: no line", *hex_lines(pages)]) == ["0x0"]


def toy_log(folder: Path, lines: str) -> Path:
    log = folder / "toyemu.log"
    log.write_text(lines)
    return log


@pytest.mark.slow
def test_a_format_of_log_is_one_file(tree: Tree, tmp_path: Path) -> None:
    log = toy_log(tmp_path, block("`cr3scope triage` of these five lines", "text"))
    refused = tree.cr3scope("triage", log)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "not a QEMU `-d int` log" in refused.stderr

    tree.add(FORMAT)
    assert tree.touched() == {FORMAT}
    verdict = tree.verdict("triage", log)
    seen = verdict["observation"]
    assert (verdict["verdict"], seen["outcome"], seen["records"]) == ("faulted", "triple-fault", 2)
    assert seen["source"] == "toyemu's trace"
    assert (seen["first"]["vector"], seen["first"]["cr2"]) == (14, "0xe3a6119")
    assert seen["chain"][0].startswith("while #PF was delivered: #DF")
    assert seen["switch"]["cr3"] == "0xe531000"
    assert tree.cr3scope("triage", log).stdout.startswith("FAULTED")


@pytest.mark.slow
def test_a_new_format_leaves_qemus_log_and_other_text_as_they_were(tree: Tree, tmp_path: Path) -> None:
    tree.add(FORMAT)
    log = CAPTURES / "qemu-7.2.stack-unmapped.interrupts.log"
    assert tree.verdict("triage", log)["observation"]["source"] == "interrupt log"
    refused = tree.cr3scope("triage", toy_log(tmp_path, "mov cr3 e531000\nshutdown\n"))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and "not a QEMU `-d int` log" in refused.stderr
