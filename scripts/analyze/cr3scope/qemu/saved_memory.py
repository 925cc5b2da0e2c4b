"""The RAM of a paused guest as QEMU writes it to files: one question for hundreds of pages."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Protocol

from cr3scope.qemu import memory_map
from cr3scope.target.memory import MemoryUnavailable
from cr3scope.x86.entry import PAGE_BYTES

_BLOCK_BYTES = 1 << 20  # the firmware's images and tables lie together in some ten of them


class Monitor(Protocol):
    """QEMU's monitor. Both raise MemoryUnavailable if it does not answer."""

    def monitor(self, line: str) -> str:
        """Return what the human monitor prints in answer to a line."""

    def execute(self, command: str, **arguments: Any) -> Any:
        """Return what a QMP command returns."""


class SavedMemory:
    """RAM alone: a device may mind to be read beside what is asked for. Valid until the guest goes on."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._blocks: dict[tuple[int, int], bytes] = {}  # by their first and last address
        self._has_files = True

    def page(self, phys: int) -> bytes | None:
        """Return a page of RAM; None where there is none, or if QEMU writes no file that is seen here."""
        around = [one for one in self._ram if one[0] <= phys and phys + PAGE_BYTES - 1 <= one[1]]
        if not around or not self._has_files:
            return None
        # What SMM has as RAM may be a device to everybody else, and its range the wider one.
        first, last = min(around, key=lambda one: one[1] - one[0])
        begin, end = max(phys & -_BLOCK_BYTES, first), min(phys | _BLOCK_BYTES - 1, last)
        if (begin, end) not in self._blocks:
            self._blocks[begin, end] = saved(self._monitor, begin, end + 1 - begin)
            self._has_files = bool(self._blocks[begin, end])
        return self._blocks[begin, end][phys - begin : phys - begin + PAGE_BYTES] or None

    def is_ram(self, first: int, last: int) -> bool:
        """Return whether all bytes from ``first`` to ``last``, inclusive, are RAM."""
        return any(begin <= first and last <= end for begin, end in self._ram)

    @cached_property
    def _ram(self) -> tuple[tuple[int, int], ...]:
        return tuple(memory_map.asked(self._monitor.monitor))


def saved(monitor: Monitor, phys: int, length: int) -> bytes:
    """Return physical memory of which QEMU writes a file; empty if none of that length comes of it.

    Then QEMU runs on another machine, or may not write where this program does.
    """
    try:
        with _place() as file:
            monitor.execute("pmemsave", val=phys, size=length, filename=file)
            return _read_plain(file, length)
    except (MemoryUnavailable, OSError):
        return b""


@contextmanager
def _place() -> Iterator[str]:
    """A path in a new folder of this user's, which is gone afterwards with whatever was put there."""
    with tempfile.TemporaryDirectory(prefix="cr3scope-", ignore_cleanup_errors=True) as folder:
        yield os.path.join(folder, "memory")


def _read_plain(file: str, length: int) -> bytes:
    """What QEMU has put into a file, if that is one of its length."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:
        found = os.fstat(descriptor)
        return opened.read(length) if stat.S_ISREG(found.st_mode) and found.st_size == length else b""
