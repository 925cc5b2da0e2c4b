"""A machine's RAM taken out of its state: a QEMU that maps it touches what the guest does, and reads no more.

The stream that QEMU migrates by (docs/devel/migration/main.rst of QEMU; its pages: migration/ram.c) may tell of a page or not: what
it does not tell of stays as the machine's memory was.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PAGE = 4096
_BLOCK = b"pc.ram"  # the machine's RAM, as both x86 machines name it
# The sections of a stream, and the records of the one that tells of memory: flags in the low bits of an address.
_START, _PART, _END, _FOOTER = 1, 2, 3, 0x7E
_FILLED, _SIZES, _WHOLE, _LAST, _SAME_BLOCK = 0x02, 0x04, 0x08, 0x10, 0x20
_HEAD = struct.Struct(">BI")  # what a section is, its number
_COMMAND_KIND, _COMMAND = 8, struct.Struct(">BHH")  # its number, and the length of what follows
_RECORD = struct.Struct(">Q")
# Pages of zeros, all of the block of the page before: of RAM that nobody has used there are a million.
_EMPTY = re.compile(rb"(?s:(?:.{6}[%s]\x22\0)*)" % b"".join(re.escape(bytes([high << 4])) for high in range(16)))


class NoSuchState(Exception):
    """A state whose pages are told in another way."""


class _Page(NamedTuple):
    """A page of a block, from a record: where it lies there, and what is in it (a byte if all are alike)."""

    block: bytes
    address: int
    content: bytes


def take_out(state: bytes | bytearray, ram: Path) -> bytes:
    """Write the machine's RAM to a file that is as large as it is, and return the state without.

    NoSuchState if this is not a stream of pages as they are without any capability of migration.
    """
    try:
        return b"".join(_without(state, ram))
    except (struct.error, IndexError) as error:
        raise NoSuchState(f"the machine's state ends in the middle of its memory: {error}") from None


def _without(state: bytes | bytearray, ram: Path) -> Iterator[bytes]:
    """Yield the state's pieces but for the RAM's pages, which go to the file."""
    at, number = _start(state)
    yield state[:at]
    sizes, behind = _sizes(state, at)
    yield state[at:behind]
    with open(ram, "wb") as file:
        file.truncate(sizes[_BLOCK])
        at, kind, block = behind, _START, b""  # a section goes on with the block of the one before
        while kind != _END:
            kind, begin = _next_section(state, at, number)
            yield state[at:begin]
            at = begin
            while not (word := _RECORD.unpack_from(state, at)[0]) & _LAST:
                page, at = _page(state, at, word, block)
                block = page.block
                if block != _BLOCK:
                    yield _told(page)
                elif any(page.content):
                    file.seek(page.address)
                    file.write(page.content if len(page.content) == _PAGE else page.content * _PAGE)
                if block == _BLOCK and (empty := _EMPTY.match(state, at)):
                    at = empty.end()
            yield state[at : at + _RECORD.size]
            at += _RECORD.size
    yield state[at:]


def _start(state: bytes | bytearray) -> tuple[int, int]:
    """Return where the first record of the memory's first section lies, and the section's number."""
    name = b"\x03ram"
    at = state.find(name) - _HEAD.size
    if at < 0 or state[at] != _START:
        raise NoSuchState("no memory in the machine's state")
    return at + _HEAD.size + len(name) + 8, _HEAD.unpack_from(state, at)[1]  # its instance and version are in between


def _sizes(state: bytes | bytearray, at: int) -> tuple[dict[bytes, int], int]:
    """Return the size of each block of memory, and where their section's footer lies."""
    (word,) = _RECORD.unpack_from(state, at)
    left, at = word & -_PAGE, at + _RECORD.size
    if not word & _SIZES:
        raise NoSuchState(f"no sizes of memory at byte {at:#x} of the machine's state")
    sizes: dict[bytes, int] = {}
    while left > 0:
        name, at = _named(state, at)
        (sizes[name],) = _RECORD.unpack_from(state, at)
        left, at = left - sizes[name], at + _RECORD.size
    if left or _BLOCK not in sizes or _RECORD.unpack_from(state, at)[0] != _LAST:
        raise NoSuchState(f"other sizes of memory than are known, up to byte {at:#x} of the machine's state")
    return sizes, at + _RECORD.size


def _next_section(state: bytes | bytearray, at: int, number: int) -> tuple[int, int]:
    """Return the kind of the memory's section behind the one whose footer is at ``at``, and where its records begin."""
    footer = _HEAD.unpack_from(state, at)
    at += _HEAD.size
    while state[at] == _COMMAND_KIND:  # QEMU 10 says so that all follows that must wait for the machine's stop
        at += _COMMAND.size + _COMMAND.unpack_from(state, at)[2]
    kind, section = _HEAD.unpack_from(state, at)
    if footer != (_FOOTER, number) or section != number or kind not in (_PART, _END):
        raise NoSuchState(f"no section of memory at byte {at:#x} of the machine's state: {state[at : at + _HEAD.size].hex()}")
    return kind, at + _HEAD.size


def _page(state: bytes | bytearray, at: int, word: int, block: bytes) -> tuple[_Page, int]:
    """Return a record's page, and where the next record is."""
    flags, at = word % _PAGE, at + _RECORD.size
    if not flags & _SAME_BLOCK:
        block, at = _named(state, at)
    size = {_FILLED: 1, _WHOLE: _PAGE}.get(flags & ~_SAME_BLOCK)
    if size is None:
        raise NoSuchState(f"a page of memory that is told in another way ({flags:#x}) at byte {at:#x} of the machine's state")
    return _Page(block, word & -_PAGE, state[at : at + size]), at + size


def _named(state: bytes | bytearray, at: int) -> tuple[bytes, int]:
    size = state[at]
    return bytes(state[at + 1 : at + 1 + size]), at + 1 + size


def _told(page: _Page) -> bytes:
    """Return a page's record, which says of which block it is."""
    flags = _WHOLE if len(page.content) == _PAGE else _FILLED
    return _RECORD.pack(page.address | flags) + bytes([len(page.block)]) + page.block + page.content
