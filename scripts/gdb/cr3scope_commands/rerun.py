"""Boots the guest once more, up to the first instruction of an image."""

from __future__ import annotations

import time
from pathlib import Path

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.images.debug_table import table_counts
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.image_list import all_images
from cr3scope.images.loaded import Image, Loaded, image_at
from cr3scope.qemu.qmp import QmpError
from cr3scope_commands.loading import run_until_loaded
from cr3scope_commands.run_to import hardware_break, run_until
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope_commands.target import Monitor, StubRam, physical_mode, stop

BOOT_SECONDS = 60.0
_RESET_SECONDS = 5.0
_RESET_OFFSET = 0xFFF0  # of RIP after a reset (Intel SDM vol. 3A, 11.1.4)


def image_of_pc(now: StoppedCpu) -> Loaded:
    """Return the image that holds the PC, by its name if the firmware lists it; UnusableInput if none does."""
    for one in all_images(now, now.rip):
        if one.image.holds(now.rip):
            return one
    return Loaded(now, image_at(now, now.rip))


def rerun_to_start(image: Loaded, pc: int) -> Loaded:
    """Reset the machine and run to the image's entry point, wherever it is loaded this time.

    gdb's symbols move with it: those of the file that has some for ``pc``. UnusableInput if the image does not
    start.
    """
    header = image.header
    if header is None or not image.names:
        raise UnusableInput(f"the firmware does not list the image at {image.image.base:#x}: the second boot's"
                            " cannot be found")  # fmt: skip
    name = image.names[0]
    reset()
    again = run_until_loaded(name)
    entry = again.image.base + header.entry
    run_until(lambda: [hardware_break(entry)], BOOT_SECONDS)
    now = stop()
    if now.rip != entry:
        raise UnusableInput(f"{name} was loaded again, but has not started within {BOOT_SECONDS:g} s")
    _move_symbols(pc, image.image, again.image)
    return again


def reset() -> None:
    """Reset the machine to what it is after power-on, but that RAM holds nothing that looks like the firmware's
    tables."""
    stale = table_counts(StubRam())
    try:
        Monitor().monitor("system_reset")
        until = time.monotonic() + _RESET_SECONDS
        while _instruction_pointer() != _RESET_OFFSET:
            if time.monotonic() > until:
                raise UnusableInput(f"the machine has not reset within {_RESET_SECONDS:g} s")
    except (QmpError, gdb.error) as error:
        raise UnusableInput(
            "QEMU ended at the reset: it must run without -no-reboot for a second boot"
        ) from error
    gdb.execute("maintenance flush register-cache", to_string=True)
    with physical_mode():
        for at in stale:
            gdb.selected_inferior().write_memory(at, bytes(8))


def _instruction_pointer() -> int | None:
    found = Monitor().registers()
    return found.get("RIP", found.get("EIP"))


def _move_symbols(pc: int, old: Image, new: Image) -> None:
    """Of the file that has symbols for ``pc`` in the old image."""
    table = gdb.find_pc_line(pc).symtab
    if old.base == new.base or table is None:
        return
    path = table.objfile.filename
    offset = new.base - ElfTwin(Path(path)).counts_from
    gdb.execute(f"remove-symbol-file -a {pc:#x}", to_string=True)
    gdb.execute(f'add-symbol-file "{path}" -o {offset:#x}', to_string=True)
