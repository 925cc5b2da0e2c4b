"""`cr3scope symbols`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.image_list import all_images
from cr3scope.images.loaded import Loaded
from cr3scope.images.match import match, opened
from cr3scope.images.pe_twin import PeTwin
from cr3scope.render.table import Cell, Table, plain
from cr3scope.text import printable
from cr3scope_commands.command import Command, show
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope_commands.target import stop


class SymbolsCommand(Command):
    """Add an ELF twin's symbols, or a PE file's own, where the firmware put its image.

    cr3scope symbols [FILE...]
    The images are those of the firmware's debug image info table, else the one that holds the PC. A
    twin is found by build id, by its code, or by name; a kernel that is no PE image is added where it
    is linked to run. Without arguments: the list of the images."""

    name, usage = "symbols", "[FILE...]"
    completion = gdb.COMPLETE_FILENAME

    def run(self, words: list[str]) -> None:
        now = stop()
        if not words:
            show(listing(now))
            return
        twins = [opened(Path(word)) for word in words]
        images = all_images(now, now.rip)
        missing = [twin for twin in twins if not _add(twin, images)]
        if len(missing) == len(twins):
            raise UnusableInput("; ".join(_why(twin, images) for twin in missing))
        show(_why(twin, images) for twin in missing)


def listing(now: StoppedCpu) -> Iterator[str]:
    """Yield how many images there are, then one line for each; the one that holds the PC is marked."""
    images = all_images(now, now.rip)
    if not images:
        raise UnusableInput("the firmware has no list of images here, and no PE image holds the PC")
    yield f"{len(images)} image{'s' if len(images) != 1 else ''}"
    rows = []
    for one in images:
        names = printable(", ".join(one.names)) or "(no name)"
        mark = "  <- the PC" if one.image.holds(now.rip) else ""
        rows.append(
            (Cell(f"{one.image.base:#x}"), Cell(f"{one.image.size:#x}"), Cell(names + mark))
        )
    yield from plain(Table(("base", "size", "name"), tuple(rows)))


def _add(twin: ElfTwin | PeTwin, images: list[Loaded]) -> bool:
    found = match(twin, images)
    if found is None and not twin.is_relocatable:
        gdb.execute(f'add-symbol-file "{twin.path}"', to_string=True)
        show([f"{twin.path} at {twin.counts_from:#x}, where it is linked to run"])
        return True
    if found is None:
        return False
    image = found.image.image
    quoted = f'"{twin.path}"'
    gdb.execute(f"add-symbol-file {quoted} -o {image.base - twin.counts_from:#x}", to_string=True)
    show([f"{twin.path} at {image.base:#x}, {image.size:#x} bytes, found by {found.by}"])
    return True


def _why(twin: ElfTwin | PeTwin, images: list[Loaded]) -> str:
    own = f"build id {twin.build_id[:12]}..." if twin.build_id else "it has no build id"
    count = f"{len(images)} image{'s' if len(images) != 1 else ''}"
    return f"{printable(str(twin.path))}: the twin of none of the {count} in memory ({own})"
