"""gdb whose Python lacks numpy or capstone: walk, maps, fault and check go on, and one line says what the rest needs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from boot.reference import ROOT
from gdb_session import gdb, unwrapped
from test_gdb_protected import at_switch

# As a finder that other people put there does it.
BLOCK = """python
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
end
"""
SWITCHED = "cr3scope check\nhbreak high_entry\ncontinue\ncr3scope maps\ncr3scope walk 0xc0108000\n"


def lacking(*names: str) -> str:
    return BLOCK.format(names=names)


def answers(text: str) -> str:
    """What the commands print, without the lines that differ: those about what is missing."""
    return "\n".join(line for line in text.splitlines() if "has no module" not in line)


def test_without_numpy_and_capstone_maps_and_walk_say_the_same(tmp_path: Path) -> None:
    commands = SWITCHED.replace("cr3scope check\n", "")
    folders = [tmp_path / "whole", tmp_path / "lacking"]
    for folder in folders:
        folder.mkdir()
    whole = at_switch(folders[0], commands, "MODE=PSE")
    less = at_switch(folders[1], commands, "MODE=PSE", first=lacking("numpy", "capstone"))
    assert re.search(r"gdb's Python 3\.\d+ has no module numpy, capstone: walk, maps, fault .* the rest needs python3-numpy", less), less
    tables = [re.search(r"2 ranges, 8 MiB mapped.*PD\[768\][^\n]*", text, re.DOTALL) for text in (whole, less)]
    assert tables[0] and tables[1] and tables[0][0] == tables[1][0], less


@pytest.mark.parametrize("names", [("numpy",), ("capstone",), ("numpy", "capstone")])
def test_check_judges_the_fetch_behind_the_switch(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Without capstone it judged the fetch of the mov itself, which goes through."""
    text = at_switch(tmp_path, "cr3scope check\n", "MODE=PSE", "CR4_BITS=0", first=lacking(*names))
    assert "verdict: faults at the next fetch: #PF (error 0000: instruction fetch, not present), CR2=0x10004d" in text, text
    assert "entry  PT[256] at 0x400 = 0x00000000" in text and "ends: triple-fault" in text, text
    assert f"has no module {', '.join(names)}: walk" in text and "Traceback" not in text, text


def test_what_is_not_followed_is_not_claimed(tmp_path: Path) -> None:
    text = at_switch(tmp_path, "cr3scope check\n", "MODE=PSE", first=lacking("capstone"))
    assert "verdict: the next fetch goes through (CR3 0x101000)" in text and "survives" not in text, text
    assert "stack write" not in text and "the code is not followed: this Python has no module capstone" in text, text


def test_fault_reads_a_frame(tmp_path: Path) -> None:
    text = at_switch(tmp_path, "hbreak *&handler\ncontinue\ncr3scope fault\n", "MODE=SMALL", first=lacking("numpy", "capstone"))
    assert re.search(r"#BP\nframe: RIP=0xc01080[0-9a-f]{2} CS=0x8 ", text), text


def test_of_code_that_is_not_followed_nothing_is_saved_or_stepped(tmp_path: Path) -> None:
    commands = "".join(f"python\ntry: gdb.execute('cr3scope {one}')\nexcept gdb.error as error: print(error)\nend\n"
                       for one in (f"save {tmp_path}/core", f"report {tmp_path}/page"))  # fmt: skip
    text = at_switch(tmp_path, commands, "MODE=PSE", first=lacking("capstone"))
    assert text.count(": gdb's Python has no capstone\n") == 2 and not (tmp_path / "core").exists(), text


@pytest.mark.parametrize("command", ["diff", "report x.html", "blame 0x1000", "step", "trace off"])
def test_a_command_that_needs_it_says_so_in_one_line(command: str) -> None:
    text = unwrapped(gdb(f"cr3scope {command}", first="python import sys; sys.modules['numpy'] = None"))
    assert text.splitlines()[1:] == [f"cr3scope {command.split()[0]}: gdb's Python has no numpy"], text


def test_a_copy_of_the_commands_alone_says_so_in_one_line(tmp_path: Path) -> None:
    """It was a traceback."""
    copy = tmp_path / "gdb"
    shutil.copytree(ROOT / "scripts/gdb", copy)
    told = subprocess.run(["gdb", "-q", "-nx", "-batch", "-ex", f"source {copy}/cr3scope_gdb.py"], capture_output=True,
                          text=True, timeout=60)  # fmt: skip
    assert told.stderr.splitlines() == [
        f"cr3scope: {copy}: no cr3scope beside the commands: `cr3scope gdb-init` prints the line that loads them"
    ]
