"""The images that the firmware loaded, from its debug image info table.

UEFI 2.10, 18.4: EFI_SYSTEM_TABLE_POINTER lies on a boundary of 4 MiB; the system table names the table of
images in its configuration table. All of it lies where the firmware mapped it one to one, so it is read
by physical address: it can be read after the switch too, as long as nobody has written over it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from itertools import islice

from cr3scope import limits
from cr3scope.errors import UnusableInput
from cr3scope.images.guest_memory import GuestMemory, GuestRam
from cr3scope.images.loaded import Image

_SIGNATURE = b"IBI SYST"
_BOUNDARY = 4 << 20
_LOW = 4 << 30
_DEBUG_IMAGE_INFO = bytes.fromhex("772e1549da1a6447b7a27afefed95e8b")
_TABLE_COUNT_AT, _TABLES_AT = 104, 112  # of EFI_SYSTEM_TABLE
_PAGE_OF_POINTERS = 512
_NORMAL = 1  # EFI_DEBUG_IMAGE_INFO_TYPE_NORMAL
_PATH_AT, _BASE_AT = 32, 64  # of EFI_LOADED_IMAGE_PROTOCOL
_BIOS_DATE_AT, _BIOS_DATE_BYTES = 0xFFFF5, 8  # of the PC's BIOS, right before the byte of its model
_BIOS_DATE = re.compile(rb"[0-9]{2}/[0-9]{2}/[0-9]{2}")
_MEDIA, _FILE_PATH = 4, 4  # type and subtype of a device path node (UEFI 2.10, 10.3.5.4)


class _Damaged(UnusableInput):
    """A pointer leads to where no memory is."""


def debug_table(guest: GuestMemory) -> int | None:
    """Return the address of EFI_DEBUG_IMAGE_INFO_TABLE_HEADER; None if the firmware has none (yet)."""
    for system in _system_tables(guest):
        head = guest.physical(system + _TABLE_COUNT_AT, 16)
        count, tables = struct.unpack("<QQ", head) if len(head) == 16 else (0, 0)
        if not 0 < count <= limits.UEFI_TABLES:
            continue
        data = guest.physical(tables, 24 * count)
        for at in range(0, len(data) - 23, 24):
            if data[at : at + 16] == _DEBUG_IMAGE_INFO:
                return int.from_bytes(data[at + 16 : at + 24], "little")
    return None


def table_counts(guest: GuestRam) -> list[int]:
    """Return where each system table holds its number of tables: without it nothing of it is found."""
    return [system + _TABLE_COUNT_AT for system in _system_tables(guest)]


def debug_images(guest: GuestMemory) -> Iterator[Image]:
    """Yield all images of the table; none without a table."""
    header = debug_table(guest)
    return images_of(guest, image_infos(guest, header) if header is not None else ())


def images_of(guest: GuestMemory, infos: Iterable[int]) -> Iterator[Image]:
    """Yield the images that the entries tell of; one that is damaged or of another kind is left out."""
    for info in infos:
        try:
            image = _image_of(guest, info)
        except _Damaged:
            continue  # the others may be whole
        if image is not None:
            yield image


def image_infos(guest: GuestMemory, header: int) -> list[int]:
    """Return the address of the EFI_DEBUG_IMAGE_INFO_NORMAL of each image.

    An image that was unloaded leaves an empty place, and TableSize counts those that are taken: so all places
    are looked at that the table can have, which grows by a page at a time.
    """
    head = guest.physical(header, 16)
    _, count, table = struct.unpack("<IIQ", head) if len(head) == 16 else (0, 0, 0)
    room = min(count, limits.UEFI_IMAGES) + -count % _PAGE_OF_POINTERS
    pointers = guest.physical(table, 8 * room)
    found = struct.unpack_from(f"<{len(pointers) // 8}Q", pointers)
    return [info for info in found if info][:count]


def _image_of(guest: GuestMemory, info: int) -> Image | None:
    """What an entry tells; None if it is of no kind that is known. _Damaged if it points nowhere."""
    kind, protocol = struct.unpack("<IxxxxQ", _bytes(guest, info, 16))
    if kind != _NORMAL or not protocol:
        return None
    base, size = struct.unpack("<QQ", _bytes(guest, protocol + _BASE_AT, 16))
    path = int.from_bytes(_bytes(guest, protocol + _PATH_AT, 8), "little")
    return Image(base, min(size, limits.PE_IMAGE_BYTES), _file_name(guest, path))


def _system_tables(guest: GuestRam) -> Iterator[int]:
    """What the pointers in RAM point to. Where a BIOS started the machine only a UEFI that came
    after it can have left one, high up."""
    date = b"".join(guest.heads([_BIOS_DATE_AT], _BIOS_DATE_BYTES))
    most = limits.UEFI_PLACES_BEHIND_BIOS if _BIOS_DATE.fullmatch(date) else limits.UEFI_PLACES
    for data in guest.heads(list(islice(_places(guest.ram()), most)), 16):
        if len(data) == 16 and data.startswith(_SIGNATURE):
            yield int.from_bytes(data[8:16], "little")


def _places(ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    """Each boundary in RAM once, from 4 GiB downwards; then what lies above. None is made that nobody asks for."""
    known = sorted(ranges, key=lambda one: one[1], reverse=True)
    for bottom, top in ((0, _LOW), (_LOW, 1 << 64)):
        lowest = top  # overlapping ranges come after one another: what lies above was told
        for first, last in known:
            begin = max(first, bottom)
            at = min(last - 1, lowest - 1) & -_BOUNDARY
            while at >= begin:
                yield at
                lowest = at
                at -= _BOUNDARY


def _file_name(guest: GuestMemory, path: int) -> str | None:
    """The last part of a device path's file names."""
    name = ""
    for _ in range(limits.UEFI_PATH_NODES if path else 0):
        kind, subtype, length = struct.unpack("<BBH", _bytes(guest, path, 4))
        if length < 4 or kind & 0x7F == 0x7F:
            break
        if (kind, subtype) == (_MEDIA, _FILE_PATH):
            name = guest.physical(path + 4, length - 4).decode("utf-16-le", "replace").split("\0")[0]
        path += length
    return name.replace("\\", "/").rsplit("/", 1)[-1] or None


def _bytes(guest: GuestMemory, phys: int, count: int) -> bytes:
    data = guest.physical(phys, count)
    if len(data) < count:
        raise _Damaged(f"the firmware's debug image info table points to {phys:#x}: no memory")
    return data
