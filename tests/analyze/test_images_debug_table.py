"""Where the firmware's list of images is looked for: many places of a large machine, few where no UEFI started it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import pytest

from cr3scope.images.debug_table import debug_table

MIB, GIB = 1 << 20, 1 << 30
DATE_AT, TABLE = 0xFFFF5, 0x10_0000
HEADER = 0x12_3000  # of the list of images
DEBUG_IMAGE_INFO = bytes.fromhex("772e1549da1a6447b7a27afefed95e8b")


class Guest:
    """A machine with 2 GiB below 4 GiB and more above; ``pointer``: where the system table's pointer lies."""

    def __init__(self, above: int, date: bytes, pointer: int | None) -> None:
        self._above = above
        self.asked: list[int] = []
        self._held = {DATE_AT: date, TABLE + 104: struct.pack("<QQ", 1, TABLE + 0x1000), TABLE + 0x1000: DEBUG_IMAGE_INFO + struct.pack("<Q", HEADER)}
        if pointer is not None:
            self._held[pointer] = b"IBI SYST" + struct.pack("<Q", TABLE)

    def ram(self) -> Iterable[tuple[int, int]]:
        return [(0, 2 * GIB - 1), *([(4 * GIB, 4 * GIB + self._above - 1)] if self._above else [])]

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        for place in places:
            self.asked.append(place)
            yield self.physical(place, length)

    def physical(self, phys: int, length: int) -> bytes:
        return self._held.get(phys, bytes(length))[:length].ljust(length, b"\0")

    def bytes_at(self, virt: int, length: int) -> bytes:
        return self.physical(virt, length)


@pytest.mark.parametrize("date", [b"06/23/99", b"04/01/14"], ids=["seabios", "another"])
def test_a_machine_that_a_bios_started_is_asked_a_few_times_however_large_it_is(date: bytes) -> None:
    """It was asked 4,096 times with 16 GiB, which took seconds of each run."""
    guest = Guest(14 * GIB, date, None)
    assert debug_table(guest) is None and len(guest.asked) < 20


@pytest.mark.parametrize("date", [b"06/23/99", bytes(8)], ids=["behind-a-bios", "alone"])
def test_a_uefi_is_found_behind_a_bios_as_well(date: bytes) -> None:
    assert debug_table(Guest(0, date, 2 * GIB - 32 * MIB)) == HEADER


@pytest.mark.parametrize("date", [bytes(8), b"\xff" * 8, b"6/23/99 "], ids=["zeros", "no-memory", "no-date"])
def test_where_no_bios_is_known_all_places_are_asked(date: bytes) -> None:
    assert debug_table(Guest(14 * GIB, date, 4 * GIB + 4 * MIB)) == HEADER
