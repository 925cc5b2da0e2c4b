"""The plugin of one run: where it lies, where it writes, and what it must know of the guest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from cr3scope.dataclass import dataclass
from cr3scope.input.writers import layout
from cr3scope.numbers import hexadecimal
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.word import FOUR_GIB

_RAM = re.compile(r"^ +([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d{1,20}, ram\): ([^ \n]{1,200})(?: @([0-9a-f]{16}))?", re.MULTILINE)
_FIRST_BLOCK = re.compile(r"^ *([^ \n]{1,200}) +\d{1,6} [KMG]iB +0x0{16} ", re.MULTILINE)
_TELLS_GUEST_ADDRESSES = (8, 1)  # QEMU's version from which the plugin API has the guest's own physical addresses
# Of the guest's RAM: with a number of 4 bytes for each 8 all together stays below one and a half times.
_VALUES_PART, _HALVES_PART = 0.65, 0.25


@dataclass(frozen=True, slots=True)
class Plugin:
    """The plugin's program, and its file, which QEMU makes. ``begins``: the first and last address of the code before which it keeps
    nothing; None if it keeps all.
    """

    program: Path
    file: Path
    begins: tuple[int, int] | None = None

    def words(self) -> list[str]:
        """Return what goes behind a QEMU command."""
        begins = "" if self.begins is None else f",first={self.begins[0]:#x},last={self.begins[1]:#x}"
        return ["-plugin", f"file={_escaped(self.program)},out={_escaped(self.file)}{begins}"]

    def tell(self, monitor: Callable[[str], str], version: tuple[int, int] | None) -> None:
        """Tell the plugin where the guest has RAM, so that it may keep values. MemoryUnavailable if QEMU does not answer."""
        guest = _guest(monitor("info mtree -f"), monitor("info ramblock"))
        if guest is None:
            return
        low, high, moved = guest
        counts_ram = version is not None and version < _TELLS_GUEST_ADDRESSES
        total = low + (high - FOUR_GIB if high else 0)
        most = (int(total * part) // size for part, size in ((_VALUES_PART, layout.VALUES_BYTES), (_HALVES_PART, layout.SLOTS_BYTES)))
        try:
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return
        try:
            os.pwrite(descriptor, layout.COUNTS_RAM.pack(counts_ram), layout.COUNTS_RAM_AT)
            os.pwrite(descriptor, layout.GUEST.pack(*most, total if counts_ram else low, high, moved), layout.GUEST_AT)
        finally:
            os.close(descriptor)


def _guest(tree: str, blocks: str) -> tuple[int, int, int] | None:
    """End of the RAM below 4 GiB and of that above, and how much lower QEMU has the latter; None if that is not certain."""
    first = _FIRST_BLOCK.search(blocks)
    if first is None:
        return None
    low = high = moved = 0
    for begin, end, name, offset in _RAM.findall(tree):
        at, last, inside = (hexadecimal(word) or 0 for word in (begin, end, offset or "0"))
        if name != first[1] or last < at:
            continue
        if at >= FOUR_GIB:
            high, moved = max(high, last + 1), at - inside
        elif at == inside:
            low = max(low, last + 1)
    is_fit = low and low % PAGE_BYTES == high % PAGE_BYTES == 0 and 0 <= moved < 1 << 52 and high < 1 << 52
    return (low, high, moved) if is_fit else None


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")
