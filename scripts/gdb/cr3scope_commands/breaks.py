"""`cr3scope break`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.image_list import all_images, named
from cr3scope.images.loaded import Loaded, image_at
from cr3scope.x86.mode_switch import ModeSwitch
from cr3scope.x86.mov_cr3 import MovCr3, find_mov_cr3
from cr3scope_commands.command import Command, address, show
from cr3scope_commands.executed import executed_switches
from cr3scope_commands.gdb_settings import in_c
from cr3scope_commands.loading import run_until_loaded
from cr3scope_commands.mode_breaks import mode_switches, set_break
from cr3scope_commands.mode_breaks import words as mode_words
from cr3scope_commands.run_to import HARDWARE_MOST
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope_commands.target import is_emulated, stop

_COMMANDS = "cr3scope check"
_TABLES = "--tables"
_MODES = ("--modes", _TABLES)
_PLACE = re.compile(r"\*0x[0-9a-f]+")


class Break(Command):
    """Break before every `mov cr3` of a loaded image, and print the verdict there.

    cr3scope break [--modes | --tables] [ADDRESS | NAME]
    cr3scope break --on-load NAME
    cr3scope break --executed NAME
    The image that holds the PC, or ADDRESS, or that is called NAME (`cr3scope symbols` lists them). Where
    no image holds the PC: the ELF files that gdb has, as far as they run where they are linked (`file
    kernel.elf` before); then the guest may be in any mode.
    --modes: at every switch: the mov to CR0 that changes PG or PE, to CR3, to CR4 that changes PAE, LA57, PSE, SMEP or SMAP,
    the wrmsr to EFER, far jumps. --tables: at lgdt, lidt and ltr, too. Data may look like one of them. So it is done without
    the word where the file is one of 32-bit code.
    --on-load: lets the guest run until the firmware has loaded NAME, which has not started yet then.
    --executed: the same, but for those that NAME comes to, also in code that it has copied elsewhere or
    unpacked. Boots twice: the first time QEMU logs the code that it executes (its own log ends by that),
    until two seconds after the first `mov cr3`. QEMU must run without -no-reboot, under TCG.
    Hardware breakpoints: they outlive the firmware's copying, and need no symbols."""

    name, usage = "break", "[--modes | --tables] [ADDRESS | NAME] | --on-load NAME | --executed NAME"
    options = ("--modes", "--tables", "--on-load", "--executed")
    completion = gdb.COMPLETE_EXPRESSION

    def names(self, before: list[str], last: str) -> Iterable[str]:
        """Return the names of the images that the firmware has loaded."""
        now = stop()
        return (name for image in all_images(now, now.rip) for name in image.names)

    def run(self, words: list[str]) -> None:
        if words[:1] == ["--on-load"]:
            if len(words) != 2:
                raise self.misused()
            show(_set(run_until_loaded(words[1])))
            return
        if words[:1] == ["--executed"]:
            if len(words) != 2:
                raise self.misused()
            show(_set_at(executed_switches(words[1]), f"the code that {words[1]} executes"))
            return
        asked = words[0] if words and words[0] in _MODES else ""
        words = words[bool(asked) :]
        if len(words) > 1:
            raise self.misused()
        try:
            now = stop(in_real_mode=bool(asked))
            found = _image(now, words[0]) if words else Loaded(now, image_at(now, now.rip))
        except UnusableInput:
            files = [] if words else list(_linked_files())
            if not files:
                raise
            for twin in files:
                if asked or twin.is_32_bit:
                    show(_set_modes(mode_switches(twin.code(), asked == _TABLES), str(twin.path)))
                else:
                    show(_set_at(_switches(twin), str(twin.path)))
            return
        if asked:
            show(_set_modes(mode_switches(found.code(), asked == _TABLES), f"the image at {found.image.base:#x}"))
            return
        show(_set(found))


def _linked_files() -> Iterator[ElfTwin]:
    """gdb's ELF files that are linked to where they run, and hold a `mov cr3` or are of 32-bit code."""
    for one in gdb.objfiles():
        path = Path(one.filename or "")
        twin = ElfTwin(path)
        try:
            twin.check()
            if not twin.is_relocatable and (twin.is_32_bit or _switches(twin)):
                yield twin
        except UnusableInput:
            continue  # gdb has more kinds of files


def _switches(twin: ElfTwin) -> list[MovCr3]:
    return [at.moved(start) for start, code in twin.code() for at in find_mov_cr3(code)]


def _set_modes(switches: Iterable[ModeSwitch], where: str) -> list[str]:
    found = list(switches)
    if not found:
        raise UnusableInput(f"no switch in the code of {where}")
    armed = _armed()
    new = [one for one in found if one.offset not in armed]
    free = len(new) if is_emulated() else max(HARDWARE_MOST - len(armed), 0)
    for one in new[:free]:
        set_break(one, _COMMANDS)
    plural = "" if len(found) == 1 else "es"
    lines = [f"{len(found)} switch{plural} in {where}: {mode_words(found)}"]
    if len(new) < len(found):
        lines.append(f"{len(found) - len(new)} had a breakpoint already")
    if len(new) > free:
        lines.append(f"no debug register is left for {mode_words(new[free:])}")
    return lines


def _image(now: StoppedCpu, word: str) -> Loaded:
    """A name first: an expression would complain of an unknown symbol."""
    try:
        return named(all_images(now, now.rip), word)
    except UnusableInput as not_named:
        try:
            return Loaded(now, image_at(now, address(word)))
        except UnusableInput as no_address:
            raise (no_address if word[:1].isdigit() or word[:1] == "$" else not_named) from None


def _set(image: Loaded) -> list[str]:
    return _set_at(list(image.switches()), f"the image at {image.image.base:#x}")


def _set_at(found: list[MovCr3], where: str) -> list[str]:
    """A breakpoint wherever one of them may begin, but for those that there are already."""
    if not found:
        raise UnusableInput(f"no mov cr3 in the code of {where}")
    switches: dict[int, list[int]] = {}
    for one in found:
        switches.setdefault(one.end, []).append(one.offset)
    places = [at for begins in switches.values() for at in begins]
    armed = _armed()
    free = len(places) if is_emulated() else max(HARDWARE_MOST - len(armed), 0)
    new = [at for at in places if at not in armed]
    for at in new[:free]:
        with in_c():
            point = gdb.Breakpoint(f"*{at:#x}", gdb.BP_HARDWARE_BREAKPOINT)
        point.commands = _COMMANDS
    told = ", ".join(" or ".join(f"{at:#x}" for at in begins) for begins in switches.values())
    lines = [f"{len(switches)} mov cr3 in {where}: {told}"]
    if len(new) < len(places):
        lines.append(f"{len(places) - len(new)} had a breakpoint already")
    if len(new) > free:
        lines.append(f"no debug register is left for {', '.join(f'{at:#x}' for at in new[free:])}")
    return lines


def _armed() -> set[int]:
    """Where such breakpoints are."""
    places = (one.location or "" for one in gdb.breakpoints() if one.commands and _is_ours(one))
    return {int(place[1:], 16) for place in places if _PLACE.fullmatch(place)}


def _is_ours(point: gdb.Breakpoint) -> bool:
    return point.enabled and _COMMANDS in (point.commands or "")
