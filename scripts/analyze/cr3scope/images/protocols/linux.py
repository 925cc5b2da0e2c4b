"""The header of a Linux kernel for its boot protocol (Linux, Documentation/arch/x86/boot.rst)."""

from __future__ import annotations

import struct

from cr3scope.arrays import Data
from cr3scope.dataclass import dataclass

_SETUP_AT, _MAGIC_AT, _MAGIC = 0x1F1, 0x202, b"HdrS"
_SETUP = struct.Struct("<BHIHHH")  # sectors of the set-up code, root flags, size of the rest, RAM size, video mode, root
_FLAG_AT, _VERSION_AT = 0x1FE, 0x206
_ALIGNMENT_AT, _RELOCATABLE_AT, _PREFERRED_AT = 0x230, 0x234, 0x258
_HEADER_END = 0x268
_SECTOR, _PARAGRAPH = 512, 16
_OLD_SECTORS = 4  # of set-up code, where the header says 0


@dataclass(frozen=True, slots=True)
class LinuxHeader:
    """``bytes_wanted``: how long the file must be; ``preferred`` is 0 before protocol 2.10."""

    boot_flag: int
    version: int
    bytes_wanted: int
    file_bytes: int
    alignment: int
    is_relocatable: bool
    preferred: int


def read_linux(data: Data) -> LinuxHeader | None:
    """Return the header; None if the file is no Linux kernel."""
    head = bytes(data[:_HEADER_END])
    if len(head) < _HEADER_END or head[_MAGIC_AT : _MAGIC_AT + 4] != _MAGIC:
        return None
    sectors, _, rest, _, _, _ = _SETUP.unpack_from(head, _SETUP_AT)
    flag, version = (struct.unpack_from("<H", head, at)[0] for at in (_FLAG_AT, _VERSION_AT))
    rest &= 0xFFFF_FFFF if version >= 0x204 else 0xFFFF
    wanted = ((sectors or _OLD_SECTORS) + 1) * _SECTOR + rest * _PARAGRAPH
    alignment = struct.unpack_from("<I", head, _ALIGNMENT_AT)[0]
    preferred = struct.unpack_from("<Q", head, _PREFERRED_AT)[0] if version >= 0x20A else 0
    return LinuxHeader(flag, version, wanted, len(data), alignment, bool(head[_RELOCATABLE_AT]), preferred)
