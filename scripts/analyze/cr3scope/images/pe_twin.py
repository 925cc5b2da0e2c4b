"""A PE file that an image in memory was loaded from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from cr3scope import limits
from cr3scope.errors import UnusableInput
from cr3scope.images.pe_header import HEADER_BYTES, PeHeader, read_header
from cr3scope.input.plain_file import open_plain


class PeTwin:
    """Told apart by its first bytes: ``MZ``."""

    build_id: str | None = None  # lld and MSVC name a PDB instead
    is_relocatable = True

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def counts_from(self) -> int:
        """Return the address in the file that lies at the base of the loaded image."""
        return self._header.linked_at

    def code(self) -> Iterator[tuple[int, bytes]]:
        """Yield the sections that can be executed: offset in the image, bytes. UnusableInput if they are too many."""
        left = limits.PE_CODE_BYTES
        for section in self._header.sections:
            if section.executable:
                length = min(section.size, section.bytes_in_file)
                left -= length
                if left < 0:
                    raise UnusableInput(f"{self.path}: its code has over {limits.PE_CODE_BYTES >> 20} MiB: no more is read")
                yield section.offset, self._data[section.in_file : section.in_file + length]

    def check(self) -> None:
        """Raise UnusableInput if it is no x86-64 PE file."""
        assert self._header

    @cached_property
    def _data(self) -> bytes:
        try:
            with open_plain(self.path) as file:
                return file.read(limits.PE_IMAGE_BYTES)
        except OSError as error:
            raise UnusableInput(f"{self.path}: {error.strerror}") from error

    @cached_property
    def _header(self) -> PeHeader:
        header = read_header(self._data[:HEADER_BYTES])
        if header is None:
            raise UnusableInput(f"{self.path}: no x86-64 PE file")
        return header
