"""`break --executed`: a switch that lies in no image, because the loader has made or copied its code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from boot.reference import make
from gdb_session import foreign

BREAK = "cr3scope break --executed bootx64"
GOES_ON = "continue\ncr3scope step"
# Of the firmware's, which lie elsewhere.
NOT_THE_LOADERS = """python
from cr3scope_commands import target
from cr3scope.images.image_list import named, all_images
now = target.stop()
loader = named(all_images(now, now.rip), "bootx64").image
for one in filter(lambda one: one.type == gdb.BP_HARDWARE_BREAKPOINT, gdb.breakpoints()):
    at = int(one.location.removeprefix("*"), 16)
    if loader.holds(at):
        print(f"of the loader: {at:#x}")
    else:
        one.delete()
end
"""


def loader(name: str) -> Path:
    return make(f"foreign/{name}.efi")


def test_the_image_alone_does_not_show_the_copied_switch(tmp_path: Path) -> None:
    text = foreign(tmp_path, loader("nx_pml4_copied"), "cr3scope break --on-load bootx64")
    assert re.search(r"no mov cr3 in the code of the image at 0x[0-9a-f]+", text), text


@pytest.mark.parametrize(
    ("name", "at_reset", "told", "stop"),
    [
        ("nx_pml4_copied", True, r"1 mov cr3 in the code that bootx64 executes: (0x[0-9a-f]+)\n", "1"),
        # Of a machine that was restored QEMU translates the firmware's code once more when the loader calls it,
        # and the firmware has a mov cr3, too.
        ("nx_pml4", False, r"of the loader: (0x[0-9a-f]+)\n", r"\d"),
    ],
    ids=["nx_pml4_copied", "nx_pml4"],
)
def test_the_executed_switch_is_stopped_at_in_the_second_boot(name: str, at_reset: bool, told: str, stop: str, tmp_path: Path) -> None:
    commands = "\n".join([BREAK, *([] if at_reset else [NOT_THE_LOADERS]), GOES_ON])
    text = foreign(tmp_path, loader(name), commands, ends=(), at_reset=at_reset)
    (found,) = re.findall(told, text)
    assert re.search(rf"Breakpoint {stop}, 0x0*{found[2:]} in ", text), text
    assert "verdict: faults at the next fetch: #PF (error 0011" in text, text
    assert "rule: nx-upper-level: NX in PML4[0] forbids" in text, text
    assert "caught #PF at its handler" in text, text


def test_a_machine_that_ends_in_the_first_boot_is_one_line_with_what_was_found(tmp_path: Path) -> None:
    """The mended twin ends QEMU."""
    text = " ".join(foreign(tmp_path, loader("nx_pml4_copied.mended"), BREAK).split())
    assert "QEMU ended in the first of two boots" in text, text
    assert re.search(r"mov cr3 executed until then: 0x[0-9a-f]+", text), text
    assert "Traceback" not in text, text


def test_a_loader_that_never_switches_is_one_line(tmp_path: Path) -> None:
    sooner = "python import cr3scope_commands.executed as one; one.SECONDS = 1"
    text = foreign(tmp_path, loader("dies_before_switch"), f"{sooner}\n{BREAK}", ends=())
    assert "bootx64 executed no mov cr3 within 1 s, or before the machine reset" in " ".join(text.split()), text


def test_a_name_is_needed(tmp_path: Path) -> None:
    text = foreign(tmp_path, loader("resets"), "cr3scope break --executed")
    assert "usage: cr3scope break" in text, text


def test_ctrl_c_in_the_first_boot_turns_qemus_log_off(tmp_path: Path) -> None:
    interrupted = """python
import cr3scope_commands.executed as one
def ctrl_c(seconds):
    raise KeyboardInterrupt
one.run_for, monitor = ctrl_c, one.Monitor.monitor
def spoken(self, command):
    print("monitor:", command)
    return monitor(self, command)
one.Monitor.monitor = spoken
try:
    gdb.execute("cr3scope break --executed bootx64")
except gdb.error as error:
    print("said:", error)
end"""
    text = foreign(tmp_path, loader("nx_pml4_copied"), interrupted)
    said = re.findall(r"^(monitor: log|said:)(.*)", text, re.MULTILINE)
    assert said[-2:] == [("monitor: log", " none"), ("said:", " cr3scope break: interrupted")], text


def test_a_qemu_that_cannot_write_the_log_is_one_line(tmp_path: Path) -> None:
    elsewhere = "python import cr3scope_commands.executed as one; one.Path = lambda _: __import__('pathlib').Path('/nowhere')"
    text = foreign(tmp_path, loader("nx_pml4_copied"), f"{elsewhere}\n{BREAK}")
    assert "QEMU writes no log to /nowhere/in_asm: " in " ".join(text.split()), text
    assert "Traceback" not in text, text
