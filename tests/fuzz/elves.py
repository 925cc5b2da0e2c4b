"""ELF files with symbols and DWARF, and PE headers: damaged where their readers look."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from random import Random

from analyze import tiny_elf
from analyze.test_images_pe_header import image
from fuzz.logs import kept_as_file
from fuzz.noise import damaged, number
from fuzz.target import Case, Target, require

from cr3scope import limits
from cr3scope.errors import UnusableInput
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.guest_memory import GuestMemory
from cr3scope.images.loaded import Image, Loaded
from cr3scope.images.pe_header import pdb_name, read_header

_SOURCE = "extern int table_make(int level);\nstatic int depth;\nint map_range(int level) {\n    depth += table_make(level);\n    return depth;\n}\n"
_COMPILERS = ("cc -gdwarf-5", "cc -gdwarf-4", "clang -gdwarf-5")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_KERNEL = 0xFFFF_FFFF_8000_0000


@cache
def _compiled(compiler: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        Path(folder, "map.c").write_text(_SOURCE)
        command = [*compiler.split(), "-O1", "-fPIC", "-shared", "-nostdlib", "-Wl,--build-id", "-o", "map.so", "map.c"]
        subprocess.run(command, cwd=folder, check=True, timeout=60)
        return Path(folder, "map.so").read_bytes()


@cache
def tiny() -> bytes:
    """Return a kernel with notes: a build id and two accesses."""
    notes = struct.pack("<III", 4, 20, 3) + b"GNU\0" + bytes(range(20))
    notes += tiny_elf.declares(_KERNEL + 8, 16, 1)
    notes += struct.pack("<III", 9, 4, 1) + b"CR3SCOPE\0\0\0\0" + struct.pack("<I", 1)
    notes += b"".join(tiny_elf.declares(_KERNEL + 12, -8, base) for base in range(7))
    loads = [(_KERNEL, 5, bytes(256), 256), (_KERNEL + 0x1000, 6, bytes(64), 4096), (_KERNEL + 0x3000, 4, notes, len(notes))]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        return tiny_elf.write(Path(folder, "kernel.elf"), _KERNEL, loads, notes).read_bytes()


def with_note_segment(elf: bytes) -> bytes:
    """Return :func:`tiny` with its notes in a segment of notes, where the loader looks for them."""
    out = bytearray(elf)
    struct.pack_into("<I", out, 64 + 2 * 56, 4)
    return bytes(out)


def _make(rng: Random) -> Case:
    data = bytearray(tiny() if rng.random() < 0.2 else _compiled(rng.choice(_COMPILERS)))
    sections = _sections(bytes(data))
    for _ in range(rng.choice((1, 1, 2, 4))):
        how = rng.randrange(4)
        if how == 0:
            at, form = rng.choice(((16, "H"), (18, "H"), (24, "Q"), (32, "Q"), (40, "Q"), (54, "H"), (56, "H"), (58, "H"), (60, "H"), (62, "H")))
        elif how == 1 and sections:
            at, form = rng.choice(sections)[0] + 8 * rng.randrange(8), rng.choice("IQ")
        elif how == 2 and sections:
            _, offset, size = rng.choice(sections)
            if size and offset + size <= len(data):
                data[offset : offset + size] = damaged(rng, bytes(data[offset : offset + size])).ljust(size, b"\0")[:size]
            continue
        else:
            at, form = 64 + 8 * rng.randrange(40), "Q"
        bits = 8 * struct.calcsize(form)
        if at + bits // 8 <= len(data):
            struct.pack_into("<" + form, data, at, number(rng, struct.unpack_from("<" + form, data, at)[0], bits))
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    return Case(bytes(data), ".elf", {"addresses": [rng.randrange(0x2000) for _ in range(3)]})


def _sections(data: bytes) -> list[tuple[int, int, int]]:
    """Return header, offset and size of each section."""
    start, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    heads = [start + _SECTION.size * number for number in range(count)]
    return [(at, *_SECTION.unpack_from(data, at)[4:6]) for at in heads]


def _check(case: Case) -> None:
    addresses = case.meant.get("addresses", ())
    assert isinstance(addresses, (list, tuple))
    with kept_as_file(case.data, ".elf") as path:
        twin = ElfTwin(path)
        questions = [twin.check, lambda: twin.build_id, lambda: twin.is_relocatable, lambda: twin.counts_from, lambda: twin.entry, lambda: list(twin.segments()),
                     lambda: list(twin.contents()), lambda: list(twin.code()), twin.declared_accesses]  # fmt: skip
        for address in (*addresses, 0x1000, _KERNEL + 8):
            questions += [lambda at=address: twin.symbol(at), lambda at=address: twin.line(at), lambda at=address: twin.holds(at)]  # type: ignore[misc]
        for question in questions:
            try:
                question()
            except UnusableInput as error:
                require(str(error).strip(), "a refusal without a word")


class _Guest(GuestMemory):
    """Bytes at one place, and nothing around them."""

    def __init__(self, base: int, data: bytes) -> None:
        self._base, self._data = base, data

    def physical(self, phys: int, length: int) -> bytes:
        at = phys - self._base
        return self._data[at : at + length] if 0 <= at < len(self._data) else b""

    bytes_at = physical


_MOV_CR3, _CODE_BYTES = b"\x0f\x22\xd8", 0x3000
_SWITCHES = (1,) * 19 + (_CODE_BYTES // 3,)  # thousands take longer than all the rest of the image


def _make_pe(rng: Random) -> Case:
    places = (0x40, 0x80, 0xC00, number(rng, 0x80, 11))
    data = bytearray(image(sections=rng.choice((0, 1, 3, 97, 65535)), pe_at=rng.choice(places)) + (_MOV_CR3 * rng.choice(_SWITCHES)).ljust(_CODE_BYTES, b"\x90"))
    data[0x3000 : 0x3000 + 28] = struct.pack("<IIHHIIII", 0, 0, 0, 0, 2, 40, 0x3100, 0)
    data[0x3100:0x3128] = (b"RSDS" + bytes(20) + rng.choice((b"a/b.pdb", b"<b7>.pdb", b"\xff\xfe.efi", b"\x1b[31m"))).ljust(40, b"\0")
    for _ in range(rng.choice((0, 1, 2, 4))):
        at = rng.choice((0x3C, *range(0x84, 0x84 + 300), *range(0x3000, 0x3130)))
        struct.pack_into("<I", data, at, number(rng, struct.unpack_from("<I", data, at)[0], 32))
    return Case(bytes(data), ".efi", {"base": rng.choice((0x10000, 0, 1 << 40, number(rng)))})


def _check_pe(case: Case) -> None:
    header = read_header(case.data)
    base = case.meant.get("base", 0x10000)
    assert isinstance(base, int)
    require(header is None or 0 < header.size <= limits.PE_IMAGE_BYTES, "an image of no size, or too large for any machine")
    loaded = Loaded(_Guest(base, case.data), Image(base, len(case.data)))
    names = loaded.names
    require(len(loaded.memory) <= len(case.data), "more memory than there is")
    list(loaded.switches())
    for at in range(0, min(len(case.data), 0x3200), 0x100):
        pdb_name(case.data[at : at + 64])
    require(all(isinstance(name, str) and name for name in names), "an empty name")


ELF = Target("elf", _make, _check, ("images/elf_twin.py", "images/kernel_notes.py"))
PE = Target("pe", _make_pe, _check_pe, ("images/pe_header.py", "images/loaded.py"))
