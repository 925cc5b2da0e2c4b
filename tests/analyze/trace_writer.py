"""A writer of traces, made from docs/trace-format.md alone: it shares no code with the reader."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence

Field = int | str | bytes | list[str]
WORD = 1 << 64
DATA_BYTES = 300


def text(value: str) -> str:
    """Text with the escapes of the format."""
    out = ""
    for byte in value.encode():
        plain = 0x21 <= byte <= 0x7E and chr(byte) not in "%#@=,"
        out += chr(byte) if plain else f"%{byte:02x}"
    return out


def field(value: Field) -> str:
    """A number, text, a list or data, as its Python type says."""
    if isinstance(value, int):
        return f"{value:x}"
    if isinstance(value, str):
        return text(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return ",".join(text(item) for item in value)


def seal(body: str) -> bytes:
    """A record's line from everything before its checksum."""
    covered = (body + " ").encode()
    return covered + b"#%08x\n" % zlib.crc32(covered)


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def zigzag(value: int) -> bytes:
    """A difference modulo 2^64, taken as signed."""
    value %= WORD
    signed = value - WORD if value >> 63 else value
    return varint((signed << 1 ^ signed >> 63) % WORD)


def plane(words: Sequence[int]) -> bytes:
    """Runs of equal stride, found greedily."""
    out, at, before = b"", 0, 0
    while at < len(words):
        first = words[at]
        stride = (words[at + 1] - first) % WORD if at + 1 < len(words) else 0
        end = at + 1
        while end < len(words) and words[end] == (words[end - 1] + stride) % WORD:
            end += 1
        strided = stride != 0 and end - at > 1
        if not strided:
            while end < len(words) and words[end] == first:
                end += 1
        out += varint((end - at) << 1 | strided) + zigzag(first - before)
        out += zigzag(stride) if strided else b""
        before, at = words[end - 1], end
    return out


def entries(table: Sequence[int]) -> bytes:
    """The two planes of a table."""
    used = [entry >> 5 & 3 for entry in table]
    values = [entry & ~0x60 for entry in table]
    out = plane([(value << 1 | value >> 63) % WORD for value in values])
    at = 0
    while at < len(used):
        end = at
        while end < len(used) and used[end] == used[at]:
            end += 1
        out += varint((end - at) << 2 | used[at])
        at = end
    return out


def dump_stream(
    tables: Iterable[tuple[int, int, Sequence[int] | None]], verbatim: bool = False
) -> bytes:
    """(physical address, level, entries or None if unreadable) of each table page."""
    out, last = b"", 0
    for phys, level, table in tables:
        page = phys >> 12
        where = zigzag(page - last - 1) + bytes([level])
        if table is None:
            out += b"\4" + where
        elif verbatim:
            out += b"\3" + where + b"".join(entry.to_bytes(8, "little") for entry in table)
        else:
            out += b"\1" + where + entries(table)
        last = page
    return out + b"\0"


def repeat(count: int, page_step: int, value_step: int) -> bytes:
    """The operation that stands for ``count`` more tables."""
    return b"\2" + varint(count) + zigzag(page_step) + zigzag(value_step)


def word_stream(data: bytes, planes: int) -> bytes:
    padded = data + bytes(-len(data) % 8)
    words = [int.from_bytes(padded[at : at + 8], "little") for at in range(0, len(padded), 8)]
    return b"".join(plane(words[k::planes]) for k in range(planes))


class Writer:
    """One channel; ``lines`` holds the records in order."""

    def __init__(self, producer: str = "loader") -> None:
        self.lines: list[bytes] = []
        self.producer = producer
        self.put("begin", producer=producer, version="0")

    @property
    def data(self) -> bytes:
        return b"".join(self.lines)

    def put(self, kind: str, fields: Mapping[str, Field] | None = None, /, **more: Field) -> None:
        given = {**(fields or {}), **more}
        words = "".join(f" {key}={field(value)}" for key, value in given.items())
        self.lines.append(seal(f"@c3s1 {len(self.lines):x} {kind}{words}"))

    def section(self, producer: str) -> None:
        self.producer = producer
        self.put("section", producer=producer)

    def end(self, following: str = "none") -> None:
        data = self.data
        self.put(
            "end",
            producer=self.producer,
            records=len(self.lines),
            bytes=len(data),
            crc=zlib.crc32(data),
            next=following,
        )

    def payload(self, data: bytes) -> None:
        for at in range(0, len(data), DATA_BYTES):
            self.put("d", o=at, b=data[at : at + DATA_BYTES])

    def dump(self, name: str, cr3: int, levels: int, stream: bytes, pages: int) -> None:
        self.put("dump", id=name, cr3=cr3, levels=levels)
        self.payload(stream)
        crc = zlib.crc32(stream)
        self.put("dump-end", {"id": name, "pages": pages, "bytes": len(stream), "crc": crc})

    def memory(self, name: str, virt: int, data: bytes, planes: int) -> None:
        stream = word_stream(data, planes) if planes else data
        length = len(data)
        self.put("memory", name=name, when="handoff", virt=virt, length=length, words=planes)
        self.payload(stream)
        self.put("memory-end", {"name": name, "bytes": len(stream), "crc": zlib.crc32(stream)})


REGISTERS = (
    "cr0 cr2 cr3 cr4 cr8 efer pat gdt_base gdt_limit idt_base idt_limit tr ldtr"
    " cs ss ds es fs gs rsp rip rflags"
).split()


def put_cpu(writer: Writer, when: str, **registers: int) -> None:
    """A ``cpu`` record; registers that are not given are 0."""
    fields: dict[str, Field] = {"when": when}
    fields.update({name: registers.get(name, 0) for name in REGISTERS})
    writer.put("cpu", fields, maxphyaddr=40, vendor="GenuineIntel", features=["nx", "1g", "pat"])


ROOT = 0x1000
CODE = 0xFFFF_FFFF_8000_0000


def golden_tables() -> list[tuple[int, int, list[int]]]:
    """One 4 KiB page of code at CODE, one writable NX page behind it."""
    top, directories, directory, table = ([0] * 512 for _ in range(4))
    top[511], directories[510], directory[0] = 0x2003, 0x3023, 0x4003
    table[0], table[1] = 0x20_0021, 0x20_1063 | 1 << 63
    return [(ROOT, 4, top), (0x2000, 3, directories), (0x3000, 2, directory), (0x4000, 1, table)]


def golden() -> Writer:
    """A small capture with every way of framing in it: two sections, a dump, memory, a map."""
    writer = Writer()
    writer.put("config", preflight="warn", kernel="")
    writer.put("mmap", index=0, total=2, size=0x30, d=["0:a0:7:f", ":60:0:"])
    put_cpu(writer, "handoff", cr0=0x8001_0033, cr3=ROOT, cr4=0x668, efer=0xD00, rip=CODE)
    writer.put(
        "map", name="code", role="text", virt=CODE, last=CODE + 0xFFF, phys=0x20_0000, rights="r-x",
        size=0x1000, type="wb", caller=0x1234,
    )  # fmt: skip
    writer.put("plan", step=0, name="first fetch", kind="fetch", virt=CODE, width=1, rip=CODE)
    writer.put("preflight", step=0, outcome="ok")
    writer.memory("idt", CODE, bytes(range(16)) * 4, 2)
    writer.dump("new", ROOT, 4, dump_stream(golden_tables()), 4)
    writer.end("kernel")
    writer.section("kernel")
    writer.put("check", name="a check", outcome="pass")
    writer.put("summary", {"pass": 1, "fail": 0})
    writer.end()
    return writer
