"""Lets the guest run until the firmware has loaded an image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.images.debug_table import debug_table, image_infos, images_of
from cr3scope.images.image_list import named
from cr3scope.images.loaded import Loaded
from cr3scope.qemu.qmp import QmpError
from cr3scope_commands.run_to import run_for, run_until
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
        arrival = _Arrival(header, name, known)
        run_until(arrival.watched, until - time.monotonic())
        if arrival.is_interrupted and time.monotonic() < until:
            raise KeyboardInterrupt


class _Arrival:
    """The guest stops when the firmware has put an image of that name in its table, or one that cannot be told."""

    def __init__(self, header: int, name: str, known: set[int]) -> None:
        self._header, self._name = header, name
        self._known = known  # the entries of other images; it grows
        self.is_interrupted = False

    def watched(self) -> list[gdb.Breakpoint]:
        """Return the watchpoint of the table's size."""
        return [_Watchpoint(self._header + _COUNT_AT, self._may_have_come)]

    def _may_have_come(self) -> bool:
        guest = _AsMapped()
        try:
            new = [info for info in image_infos(guest, self._header) if info not in self._known]
            named([Loaded(guest, image) for image in images_of(guest, new)], self._name)
        except UnusableInput:
            self._known.update(new)
            return False
        except gdb.error:
            return True
        except KeyboardInterrupt:  # the end of the time, or the person
            self.is_interrupted = True
        return True


class _Watchpoint(gdb.Breakpoint):
    """Stops after a write to 4 bytes, if ``is_awaited`` says so then."""

    def __init__(self, virt: int, is_awaited: Callable[[], bool]) -> None:
        super().__init__(f"*(unsigned int *){virt:#x}", gdb.BP_WATCHPOINT, gdb.WP_WRITE, internal=True)
        self._is_awaited = is_awaited

    def stop(self) -> bool:
        """Return whether the guest is to stand; called by gdb."""
        return self._is_awaited()


class _AsMapped:
    """The guest's memory where it is mapped one to one, as it is under the firmware: gdb asks for no other within a stop."""

    def physical(self, phys: int, length: int) -> bytes:
        """Return the bytes. gdb.MemoryError if one is not mapped."""
        return bytes(gdb.selected_inferior().read_memory(phys, length)) if length else b""

    bytes_at = physical

    def ram(self) -> Iterable[tuple[int, int]]:
        """Return nothing: nobody looks for the table once it is known."""
        return ()

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        """Yield what lies at each place."""
        return (self.physical(at, length) for at in places)


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
