"""Files that somebody may boot, as small as they can be: ELF kernels and PE images, healthy unless a test changes one thing."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

BASE = 0xFFFF_FFFF_8000_0000
R, W, X = 4, 2, 1
# push rbp; mov rbp, rsp; sub rsp, 16; mov [rbp-8], edi; mov eax, [rbp-8]; leave; ret
CODE = bytes.fromhex("55 48 89 e5 48 83 ec 10 89 7d f8 8b 45 f8 c9 c3")
_HEADER, _PROGRAM, _SECTION = 64, 56, 64


@dataclass(frozen=True)
class Segment:
    """``data`` lies at the place of the file that ``virt`` has in its page, unless ``offset`` says another."""

    virt: int
    flags: int
    data: bytes
    phys: int | None = None
    memsz: int | None = None
    filesz: int | None = None
    align: int = 0x1000
    offset: int | None = None


@dataclass(frozen=True)
class Kernel:
    """An ELF64 file. ``symbols``: name -> (address, size); size None: a label; ``undefined``: names with no address."""

    entry: int = BASE + 0x1000
    segments: Sequence[Segment] = (Segment(BASE + 0x1000, R | X, CODE), Segment(BASE + 0x2000, R | W, bytes(16), memsz=0x1000))
    symbols: Mapping[str, tuple[int, int | None]] = field(default_factory=lambda: {"_start": (BASE + 0x1000, len(CODE))})
    undefined: Sequence[str] = ()
    kind: int = 2
    machine: int = 62
    notes: bytes = b""
    prefix: bytes = b""  # of the file, behind its headers

    def with_(self, **changes: object) -> Kernel:
        return replace(self, **changes)  # type: ignore[arg-type]

    def bytes(self) -> bytes:
        count = len(self.segments) + bool(self.notes)
        out = bytearray(_HEADER + _PROGRAM * count) + self.prefix
        programs = b""
        for one in self.segments:
            offset = one.offset
            if offset is None:
                out += bytes((one.virt - len(out)) % 0x1000)
                offset = len(out)
            out += bytes(max(offset - len(out), 0))
            out[offset : offset + len(one.data)] = one.data
            filesz = len(one.data) if one.filesz is None else one.filesz
            memsz = max(filesz, len(one.data)) if one.memsz is None else one.memsz
            phys = one.virt if one.phys is None else one.phys
            programs += struct.pack("<IIQQQQQQ", 1, one.flags, offset, one.virt, phys, filesz, memsz, one.align)
        if self.notes:
            programs += struct.pack("<IIQQQQQQ", 4, 4, len(out), 0, 0, len(self.notes), len(self.notes), 4)
            out += self.notes
        sections_at, tables = self._sections(out)
        head = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", self.kind, self.machine, 1, self.entry, _HEADER, sections_at, 0,
                           _HEADER, _PROGRAM, count, _SECTION, tables, tables - 1)  # fmt: skip
        out[: _HEADER + len(programs)] = head + programs
        return bytes(out)

    def _sections(self, out: bytearray) -> tuple[int, int]:
        """Append symbols and section headers; where these are, and how many."""
        names, rows, text = b"\0", bytes(24), b"\0"
        for name, (virt, size) in self.symbols.items():
            rows += struct.pack("<IBBHQQ", len(text), 0x10 | (2 if size is not None else 0), 0, 1, virt, size or 0)
            text += name.encode() + b"\0"
        for name in self.undefined:
            rows += struct.pack("<IBBHQQ", len(text), 0x10, 0, 0, 0, 0)
            text += name.encode() + b"\0"
        heads = bytearray(_SECTION)
        code = [one for one in self.segments if one.flags & X and one.data][:1]
        parts = [(".text", 1, 6, one.virt, None, one) for one in code]
        for name, kind, flags, virt, data, one in [
            *parts, (".symtab", 2, 0, 0, rows, None), (".strtab", 3, 0, 0, text, None), (".shstrtab", 3, 0, 0, b"", None),
        ]:  # fmt: skip
            own, names = len(names), names + name.encode() + b"\0"
            if one is not None:
                offset, size = _offset(out, one), len(one.data)
            else:
                data = names if name == ".shstrtab" else data
                offset, size = len(out), len(data or b"")
                out += data or b""
            link = len(parts) + 2 if kind == 2 else 0
            heads += struct.pack("<IIQQQQIIQQ", own, kind, flags, virt, offset, size, link, 0, 1, 24 if kind == 2 else 0)
        at = len(out)
        out += heads
        return at, len(heads) // _SECTION


def _offset(out: bytearray, one: Segment) -> int:
    return bytes(out).index(one.data)


@dataclass(frozen=True)
class Section:
    name: str
    offset: int
    flags: int
    data: bytes
    size: int | None = None


TEXT = Section(".text", 0x1000, 0x6000_0020, CODE)
DATA = Section(".data", 0x2000, 0xC000_0040, bytes(range(16)))
RELOC = Section(".reloc", 0x3000, 0x4200_0040, struct.pack("<IIHH", 0x2000, 12, 0xA000, 0))


@dataclass(frozen=True)
class Image:
    """A PE32+ file; each section's bytes lie at a multiple of 200h of the file."""

    sections: Sequence[Section] = (TEXT, DATA, RELOC)
    entry: int = 0x1000
    image_base: int = 0
    subsystem: int = 10
    characteristics: int = 0x22E
    dll: int = 0x100
    section_alignment: int = 0x1000
    file_alignment: int = 0x200
    size: int = 0x4000
    machine: int = 0x8664
    magic: int = 0x20B
    relocations: tuple[int, int] = (0x3000, 12)
    declared: int | None = None

    def with_(self, **changes: object) -> Image:
        return replace(self, **changes)  # type: ignore[arg-type]

    def bytes(self) -> bytes:
        count = len(self.sections) if self.declared is None else self.declared
        head = bytearray(b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40))
        head += b"PE\0\0" + struct.pack("<HHIIIHH", self.machine, count, 0, 0, 0, 240, self.characteristics)
        optional = bytearray(240)
        struct.pack_into("<H", optional, 0, self.magic)
        struct.pack_into("<I", optional, 16, self.entry)
        struct.pack_into("<QII", optional, 24, self.image_base, self.section_alignment, self.file_alignment)
        struct.pack_into("<III", optional, 56, self.size, 0x400, 0)
        struct.pack_into("<HH", optional, 68, self.subsystem, self.dll)
        struct.pack_into("<I", optional, 108, 16)
        struct.pack_into("<II", optional, 112 + 8 * 5, *self.relocations)
        head += optional
        body, at = b"", 0x400
        for one in self.sections:
            size = len(one.data) if one.size is None else one.size
            head += struct.pack("<8sIIIIIIHHI", one.name.encode(), size, one.offset, len(one.data), at + len(body), 0, 0, 0, 0, one.flags)
            body += one.data.ljust(-(-len(one.data) // 0x200) * 0x200, b"\0")
        return bytes(head.ljust(at, b"\0")) + body


def multiboot1(flags: int = 0, checksum: int | None = None, addresses: Sequence[int] = ()) -> bytes:
    total = -(0x1BAD_B002 + flags) & 0xFFFF_FFFF if checksum is None else checksum
    return struct.pack("<III", 0x1BAD_B002, flags, total) + struct.pack(f"<{len(addresses)}I", *addresses)


def multiboot2(tags: bytes = struct.pack("<HHI", 0, 0, 8), architecture: int = 0, checksum: int | None = None) -> bytes:
    length = 16 + len(tags)
    total = -(0xE852_50D6 + architecture + length) & 0xFFFF_FFFF if checksum is None else checksum
    return struct.pack("<IIII", 0xE852_50D6, architecture, length, total) + tags


def tag(kind: int, content: bytes = b"", flags: int = 0) -> bytes:
    size = 8 + len(content)
    return struct.pack("<HHI", kind, flags, size) + content.ljust(len(content) + -size % 8, b"\0")


def request(number: int) -> bytes:
    """A request to Limine, of an id of its own."""
    return struct.pack("<QQQQQQ", 0xC7B1_DD30_DF4C_8B88, 0x0A82_E883_A194_F07B, number, number, 0, 0)


START = struct.pack("<QQQQ", 0xF6B8_F4B3_9DE7_D1AE, 0xFAB9_1A69_40FC_B9CF, 0x785C_6ED0_15D3_E316, 0x181E_920A_7852_B9D9)
END = struct.pack("<QQ", 0xADC0_E053_1BB1_0D03, 0x9572_709F_3176_4C62)


def linux(rest: int = 64, cut: int = 0, flag: int = 0xAA55, version: int = 0x20F, preferred: int = 0x100_0000) -> bytes:
    """A Linux kernel of one set-up sector and ``rest`` paragraphs."""
    data = bytearray(1024 + rest * 16)
    data[0x1F1] = 1
    struct.pack_into("<I", data, 0x1F4, rest)
    struct.pack_into("<H", data, 0x1FE, flag)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x206, version)
    struct.pack_into("<IB", data, 0x230, 0x20_0000, 1)
    struct.pack_into("<Q", data, 0x258, preferred)
    return bytes(data[: len(data) - cut])


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def kernel_32(code: bytes, symbols: Mapping[str, tuple[int, int]], entry: int, undefined: Sequence[str] = ()) -> bytes:
    """An ELF32 file for Multiboot, loaded at 1 MiB: its header, and ``code`` 16 bytes behind; symbols are offsets in the code."""
    text = 0x10_0010
    content = multiboot1().ljust(16, b"\0") + code
    names, rows, strings = b"\0.text\0.symtab\0.strtab\0", bytes(16), b"\0"
    for name, (at, size) in symbols.items():
        rows += struct.pack("<IIIBBH", len(strings), text + at, size, 0x12, 0, 1)
        strings += name.encode() + b"\0"
    for name in undefined:
        rows += struct.pack("<IIIBBH", len(strings), 0, 0, 0x10, 0, 0)
        strings += name.encode() + b"\0"
    out = bytearray(0x1000) + content
    heads = bytearray(40)
    for name, kind, flags, virt, offset, data, link in (
        (1, 1, 6, text, 0x1010, code, 0), (7, 2, 0, 0, 0x1000 + len(content), rows, 3), (15, 3, 0, 0, 0x1000 + len(content + rows), strings, 0),
        (15, 3, 0, 0, 0x1000 + len(content + rows + strings), names, 0),
    ):  # fmt: skip
        heads += struct.pack("<IIIIIIIIII", name, kind, flags, virt, offset, len(data), link, 0, 1, 16)
    out += rows + strings + names
    head = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\1\1\1", 2, 3, 1, text + entry, 52, len(out), 0, 52, 32, 1, 40, 5, 4)
    out[:84] = head + struct.pack("<IIIIIIII", 1, 0x1000, 0x10_0000, 0x10_0000, len(content), len(content), 5, 0x1000)
    return bytes(out + heads)
