"""ACPI tables that name a serial port, made from Microsoft's specifications of SPCR and DBG2 and from ACPI's own."""

from __future__ import annotations

import struct
from collections.abc import Iterator

MEMORY, PORTS = 0, 1
_FIRST = 0x7F00_0000  # where the fuzzer's tables lie


def generic_address(space: int, width: int, access: int, address: int) -> bytes:
    """A generic address structure (ACPI 6.5, 5.2.3.2)."""
    return struct.pack("<BBBBQ", space, width, 0, access, address)


def spcr_body(address: bytes, interface: int = 0) -> bytes:
    """An SPCR of revision 2 without its header."""
    return bytes([interface, 0, 0, 0]) + address + bytes(28)


def dbg2_body(address: bytes, subtype: int = 0x12) -> bytes:
    """A DBG2 with one port, without its header."""
    device = struct.pack("<BHBHHHHHHHHH", 0, 22 + len(address), 1, 0, 0, 0, 0, 0x8000, subtype, 0, 22, 0)
    return struct.pack("<II", 44, 1) + device + address


def table(name: bytes, body: bytes) -> bytes:
    """A table with its header; its checksum is right."""
    whole = bytearray(name + struct.pack("<I", 36 + len(body)) + bytes(28) + body)
    whole[9] = -sum(whole) & 0xFF
    return bytes(whole)


def acpi_seeds() -> Iterator[bytes]:
    """Yield first inputs for the fuzzer: memory from its root pointer on."""
    com2, in_memory = generic_address(PORTS, 8, 1, 0x2F8), generic_address(MEMORY, 32, 3, 0xFE03_0000)
    for tables in ([table(b"SPCR", spcr_body(com2))], [table(b"DBG2", dbg2_body(in_memory))],
                   [table(b"SPCR", spcr_body(in_memory, 3)), table(b"DBG2", dbg2_body(com2))]):  # fmt: skip
        places = [_FIRST + 0x100 * (2 + number) for number in range(len(tables))]
        listed = table(b"XSDT", b"".join(struct.pack("<Q", place) for place in places))
        root = b"RSD PTR " + bytes(7) + b"\2" + bytes(4) + struct.pack("<IQI", 36, _FIRST + 0x100, 0)
        yield b"".join(part.ljust(0x100, b"\0") for part in (root, listed, *tables))
