"""`cr3scope break`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.image_list import all_images, named
from cr3scope.images.loaded import Loaded, image_at
from cr3scope.paging.mov_cr3 import find_mov_cr3
from cr3scope_commands.command import Command, address, show
from cr3scope_commands.loading import run_until_loaded
from cr3scope_commands.target import Stop, stop

_MOST = 4  # DR0 to DR3


class Break(Command):
    """Break before every `mov cr3` of a loaded image, and print the verdict there.

    cr3scope break [ADDRESS | NAME]
    cr3scope break --on-load NAME
    The image that holds the PC, or ADDRESS, or that is called NAME (`cr3scope symbols` lists them). Where
    no image holds the PC: the ELF files that gdb has, as far as they run where they are linked (`file
    kernel.elf` before); then the guest may be in any mode.
    --on-load: lets the guest run until the firmware has loaded NAME, which has not started yet then.
    Hardware breakpoints: they outlive the firmware's copying, and need no symbols."""

    name, usage = "break", "[ADDRESS | NAME | --on-load NAME]"
    completion = gdb.COMPLETE_EXPRESSION

    def run(self, words: list[str]) -> None:
        if words[:1] == ["--on-load"]:
            if len(words) != 2:
                raise self.misused()
            show(_set(run_until_loaded(words[1])))
            return
        if len(words) > 1:
            raise self.misused()
        try:
            now = stop()
            found = _image(now, words[0]) if words else Loaded(now, image_at(now, now.rip))
        except UnusableInput:
            files = [] if words else list(_linked_files())
            if not files:
                raise
            for file, switches in files:
                show(_set_at(switches, str(file)))
            return
        show(_set(found))


def _linked_files() -> Iterator[tuple[Path, list[int]]]:
    """gdb's ELF files that are linked to where they run, with the addresses of their `mov cr3`."""
    for one in gdb.objfiles():
        path = Path(one.filename or "")
        twin = ElfTwin(path)
        try:
            twin.check()
            if not twin.is_relocatable:
                found = [start + at.offset for start, code in twin.code() for at in find_mov_cr3(code)]
                if found:
                    yield path, found
        except UnusableInput:
            continue  # gdb has more kinds of files


def _image(now: Stop, word: str) -> Loaded:
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


def _set_at(found: list[int], where: str) -> list[str]:
    if not found:
        raise UnusableInput(f"no mov cr3 in the code of {where}")
    for at in found[:_MOST]:
        point = gdb.Breakpoint(f"*{at:#x}", gdb.BP_HARDWARE_BREAKPOINT)
        point.commands = "cr3scope check"
    lines = [f"{len(found)} mov cr3 in {where}: {', '.join(f'{at:#x}' for at in found[:_MOST])}"]
    if len(found) > _MOST:
        lines.append(f"only the first {_MOST} have a hardware breakpoint")
    return lines
