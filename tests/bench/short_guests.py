"""Boot sectors that say one byte on the serial port and then park, or die of a triple fault."""

from __future__ import annotations

_AT, _SECTOR = 0x7C00, 512
_TO_PROTECTED_MODE = bytes.fromhex("fa 31c0 8ed8 0f0116407c 0f20c0 0c01 0f22c0 ea187c0800")  # lgdt [0x7c40]; mov cr0; ljmp 8:0x7c18
_SAYS = bytes.fromhex("baf8030000 b02e ee")  # mov edx, 0x3f8; mov al, '.'; out dx, al
PARKS = bytes.fromhex("f4 ebfd")  # hlt in a loop
DIES = bytes.fromhex("0f011d507c0000 0f0b")  # lidt of nothing; ud2
_TABLES = bytes.fromhex("0f00 487c0000 0000 0000000000000000") + bytes.fromhex("ffff0000009acf00")  # GDTR; its descriptors 0 and 8
_ENTRY, _GDTR, _SIGNATURE = 0x18, 0x40, b"\x55\xaa"


def boot_sector(end: bytes) -> bytes:
    """Return a boot sector that ends its life with this code of 32 bits, right after it has said a byte."""
    code = (_TO_PROTECTED_MODE.ljust(_ENTRY, b"\x90") + _SAYS + end).ljust(_GDTR, b"\0")
    return (code + _TABLES).ljust(_SECTOR - len(_SIGNATURE), b"\0") + _SIGNATURE
