"""Loaded PE images in guest memory: where they are, and what their headers say."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.images.guest_memory import GuestMemory
from cr3scope.images.pe_header import HEADER_BYTES, PeHeader, pdb_name, read_header
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.mov_cr3 import MovCr3, find_mov_cr3



@dataclass(frozen=True)
class Image:
    """A PE image as the firmware placed it. ``name`` is that of its file, if the firmware has it."""

    base: int
    size: int
    name: str | None = None

    def holds(self, address: int) -> bool:
        """Return whether the image covers ``address``."""
        return self.base <= address < self.base + self.size


@dataclass(frozen=True)
class Loaded:
    """An image and the memory in which it lies; by physical address, as the firmware maps one to one."""

    guest: GuestMemory
    image: Image

    @cached_property
    def header(self) -> PeHeader | None:
        """Return its headers; None where something else lies in the guest's memory by now."""
        return read_header(self.guest.physical(self.image.base, HEADER_BYTES))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the file's name and the PDB's: what a build tool called it."""
        found = [self.image.name]
        if self.header is not None and self.header.debug[1]:
            offset, size = self.header.debug
            record = self.header.code_view(self.guest.physical(self.image.base + offset, size))
            if record is not None:
                found.append(pdb_name(self.guest.physical(self.image.base + record[0], min(record[1], limits.PE_NAME_BYTES))))
        return tuple(dict.fromkeys(name for name in found if name))

    @cached_property
    def memory(self) -> bytes:
        """Return all of the image, or only the beginning if it is too large for a loader."""
        return self.guest.physical(self.image.base, min(self.image.size, limits.PE_SECTION_BYTES))

    def code(self) -> Iterator[tuple[int, bytes]]:
        """Yield address and bytes of its executable sections."""
        for section in self.header.sections if self.header else ():
            if section.executable:
                start = self.image.base + section.offset
                yield start, self.guest.physical(start, min(section.size, limits.PE_SECTION_BYTES))

    def switches(self) -> Iterator[MovCr3]:
        """Yield the `mov cr3` in its executable sections; their offsets are addresses."""
        for start, code in self.code():
            yield from (found.moved(start) for found in find_mov_cr3(code))


def image_at(guest: GuestMemory, pc: int) -> Image:
    """Return the image that holds ``pc``, by its header in the live tables; UnusableInput if there is none."""
    page = pc & -PAGE_BYTES
    for base in range(page, max(page - limits.PE_SEARCH_BYTES, -1), -PAGE_BYTES):
        head = guest.bytes_at(base, HEADER_BYTES)
        if not head:
            break
        header = read_header(head)
        if header is not None and base <= pc < base + header.size:
            return Image(base, header.size)
    raise UnusableInput(f"no PE image in memory holds {pc:#x}")
