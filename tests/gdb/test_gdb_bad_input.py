"""Bad input gives one clear line, never a traceback."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from gdb_session import answers, at_switch, gdb, session

NAMES = ("break", "check", "diff", "fault", "handoff", "maps", "report", "save", "step", "symbols", "walk")
NO_TARGET = "no target: start QEMU with -gdb tcp::1234 and `target remote :1234`"

REFUSED = [
    ("walk 0", f"cr3scope walk: {NO_TARGET}"),
    ("check", f"cr3scope check: {NO_TARGET}"),
    ("step", f"cr3scope step: {NO_TARGET}"),
    ("walk", "usage: cr3scope walk ADDRESS [--access r|w|x] [--new] [--user]"),
    ("walk 0 --access z", "usage: cr3scope walk ADDRESS [--access r|w|x] [--new] [--user]"),
    ("fault 256", "usage: cr3scope fault [VECTOR]"),
    ("handoff stdcall", "usage: cr3scope handoff [sysv|ms]"),
    ("maps now", "usage: cr3scope maps [--new]"),
    ("step now", "usage: cr3scope step [--entry]"),
    ("save", "usage: cr3scope save FILE"),
    ("report", "usage: cr3scope report FILE"),
]
STARTED = [
    (("gdb", "-i", "mi"), True),
    (("gdb", "-i=mi"), True),
    (("gdb", "--interpreter=mi3"), True),
    (("gdb", "-interp", "mi2", "-q"), True),
    (("gdb", "--interpreter", "dap"), True),
    (("gdb", "-i", "console"), False),
    (("gdb", "-ix", "mi"), False),
    (("gdb", "-init-command", "mi"), False),
    (("gdb", "mi"), False),
]


def refused(command: str) -> str:
    return f"cr3scope {command}"


def helped(name: str) -> str:
    return f"help cr3scope {name}"


def asked(words: tuple[str, ...]) -> str:
    return f"python from cr3scope_commands.gdb_settings import speaks_to_a_program as told; print(told({words}))"


@cache
def told() -> dict[str, str]:
    """What the three kinds of questions that need no guest are answered, by one gdb."""
    return answers([
        *(refused(command) for command, _ in REFUSED),
        *map(helped, NAMES),
        *(asked(words) for words, _ in STARTED),
    ])


@pytest.mark.parametrize(("command", "line"), REFUSED)
def test_a_command_refuses_in_one_line(command: str, line: str) -> None:
    assert told()[refused(command)].splitlines() == [line]


def test_a_target_that_is_not_qemu_is_named() -> None:
    text = gdb("file /bin/true", "starti", "cr3scope walk 0", "kill")
    assert "cr3scope walk: the target has no QEMU monitor" in text
    assert "Traceback" not in text


def test_a_guest_in_real_mode_is_named(tmp_path: Path) -> None:
    text = session(tmp_path, ["qemu-system-x86_64", "-nodefaults", "-display", "none"], "cr3scope maps")
    assert "cr3scope maps: the guest is in real mode: there is no paging to show\n" in text, text


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name: str) -> None:
    assert f"cr3scope {name}" in told()[helped(name)]


def test_a_missing_module_is_named_in_one_line() -> None:
    strip = "python import sys; sys.path[:] = [p for p in sys.path if '-packages' not in p]"
    text = gdb(first=strip)
    assert re.fullmatch(r"cr3scope: gdb's Python 3\.[0-9]+ has no module numpy, capstone: walk, maps, .* python3-numpy .*\n", text), text


def test_a_missing_decoder_is_named_in_one_line() -> None:
    text = gdb(first="python import sys; sys.modules['capstone'] = None")
    assert re.fullmatch(r"cr3scope: gdb's Python 3\.[0-9]+ has no module capstone: walk, maps, .*; the rest needs python3-capstone\n", text), text


# Ctrl-C comes at the first piece of memory (some firmware's tables are but one), and once more while the stub is told
# the mode. Caught:
# a script of gdb's ends at the first error.
INTERRUPTED = """python
from cr3scope_commands import target
execute = gdb.execute
def interrupted(*arguments):
    gdb.execute = again
    raise KeyboardInterrupt
def again(*arguments, **named):
    gdb.execute = execute
    raise KeyboardInterrupt
target.SavedMemory.page = lambda *_: None
target.read_physical = interrupted
try:
    gdb.execute("cr3scope maps")
except gdb.error as error:
    print(error)
end
maintenance packet qqemu.PhyMemMode
"""


def test_ctrl_c_leaves_the_stub_in_virtual_mode(tmp_path: Path) -> None:
    text = at_switch(tmp_path, INTERRUPTED, judged="")
    assert "cr3scope maps: interrupted" in text, text
    assert text.rstrip().split("received: ")[-1].startswith('"0"'), text


@pytest.mark.parametrize(("words", "is_program"), STARTED)
def test_a_gdb_that_speaks_to_a_program_is_told_by_its_options(
    words: tuple[str, ...], is_program: bool
) -> None:
    assert told()[asked(words)] == f"{is_program}\n"
