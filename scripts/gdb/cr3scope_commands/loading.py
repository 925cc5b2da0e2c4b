"""Lets the guest run until the firmware has loaded an image."""

from __future__ import annotations

import time

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.images.debug_table import debug_table, image_infos, images_of
from cr3scope.images.image_list import named
from cr3scope.images.loaded import Loaded
from cr3scope.qemu.qmp import QmpError
from cr3scope_commands.run_to import run_for, run_until_written
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope_commands.target import stop

SECONDS = 60.0  # until a boot has come to what is waited for
_SLICE = 0.1  # the firmware's core comes up long before it loads what is on a disk
_COUNT_AT = 4  # TableSize in EFI_DEBUG_IMAGE_INFO_TABLE_HEADER


def run_until_loaded(name: str) -> Loaded:
    """Run until the image is loaded and relocated, before its first instruction, and return it.

    UnusableInput if it does not come within :data:`SECONDS`.
    """
    until = time.monotonic() + SECONDS
    header = _table(until)
    known: set[int] = set()
    while True:
        now = stop()
        new = [info for info in image_infos(now, header) if info not in known]
        known.update(new)
        try:
            return named([Loaded(now, image) for image in images_of(now, new)], name)
        except UnusableInput:
            if time.monotonic() > until:
                others = f"{len(known)} other images were"
                raise UnusableInput(f"{name} was not loaded within {SECONDS:g} s; {others}") from None
        run_until_written(header + _COUNT_AT, 4, until - time.monotonic())


def _table(until: float) -> int:
    """The firmware's table, once it is there."""
    while time.monotonic() < until:
        now = _in_long_mode()
        header = debug_table(now) if now is not None else None
        if header is not None:
            return header
        run_for(_SLICE)
    raise UnusableInput(f"the firmware had no debug image info table within {SECONDS:g} s")


def _in_long_mode() -> StoppedCpu | None:
    try:
        now = stop()
        return now if now.in_long_mode else None
    except UnusableInput:
        if gdb.selected_inferior().pid == 0:
            raise
        return None
    except QmpError as error:
        raise UnusableInput(str(error)) from error
