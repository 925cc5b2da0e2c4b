"""`cr3scope symbols`."""

from __future__ import annotations

import struct
from pathlib import Path

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.symbols import ElfTwin
from cr3scope_commands.command import Command, show
from cr3scope_commands.images import image_at
from cr3scope_commands.target import stop

_NT_GNU_BUILD_ID = 3

class SymbolsCommand(Command):
    """Add an ELF twin's symbols where the firmware put its image: the image that holds the PC.

    cr3scope symbols ELF...
    Of several ELF files the one is taken whose build id lies in the image."""

    name, usage = "symbols", "ELF..."
    completion = gdb.COMPLETE_FILENAME

    def run(self, words: list[str]) -> None:
        if not words:
            raise self.misused()
        now = stop()
        twins = [ElfTwin(Path(word)) for word in words]
        for twin in twins:
            twin.check()
        image = image_at(now, now.rip)
        memory = now.bytes_at(image.base, image.size)
        for twin in twins:
            if twin.build_id and _note(bytes.fromhex(twin.build_id)) in memory:
                break
        else:
            names = ", ".join(words)
            where = f"the image at {image.base:#x}"
            raise UnusableInput(f"{names}: no build id of these lies in {where}")
        quoted = f'"{twin.path}"'
        gdb.execute(f"add-symbol-file {quoted} -o {image.base:#x}", to_string=True)
        show([f"{twin.path} at {image.base:#x}, {image.size:#x} bytes"])


def _note(build_id: bytes) -> bytes:
    """The whole ELF note: a loader may also hold the bare build id of the kernel that it loads."""
    return struct.pack("<III4s", 4, len(build_id), _NT_GNU_BUILD_ID, b"GNU\0") + build_id
