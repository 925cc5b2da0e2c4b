"""A record without a field that docs/trace-format.md, "Kinds", requires of it is damage."""

from __future__ import annotations

import zlib

import pytest
from trace_writer import REGISTERS, Field, Writer

from cr3scope.input.capture.reader import read_capture

GENERAL = "rax rbx rcx rdx rsi rdi rbp r8 r9 r10 r11 r12 r13 r14 r15".split()
CPU: dict[str, Field] = {name: 1 for name in REGISTERS}
FAULT: dict[str, Field] = dict.fromkeys(
    ["vector", "error", "cr2", "cr3", "rip", "rsp", "rflags", "cs", "ss", *GENERAL], 1
)
REFUSED: dict[str, Field] = {"step": 0, "outcome": "fault", "vector": 14, "error": 0, "cr2": 0}

# Required fields with good values, and the optional ones.
KINDS: dict[str, tuple[dict[str, Field], dict[str, Field]]] = {
    "error": ({"where": "here", "what": "this"}, {"status": 1}),
    "firmware": ({"vendor": "EDK II", "revision": 1, "uefi": 0x20046}, {}),
    "cpu": (
        {"when": "entry", **CPU, "maxphyaddr": 40, "vendor": "GenuineIntel", "features": ["nx"]}, {}
    ),
    "mmap": ({"index": 0, "total": 1, "size": 0x30, "d": ["0:1:7:f"]}, {}),
    "image": (
        {"name": "loader", "base": 0x1000, "size": 0x1000, "text": 0, "text_size": 0x100},
        {"build_id": "ab12", "file": "loader.efi"},
    ),
    "elf": ({"name": "kernel.elf", "entry": 1, "size": 1, "machine": 62}, {"build_id": "ab12"}),
    "segment": (
        {"of": "kernel.elf", "index": 0, "virt": 0x1000, "last": 0x1FFF, "phys": 0, "filesz": 1,
         "memsz": 1, "offset": 0, "flags": "r-x"}, {},
    ),
    "map": (
        {"name": "n", "role": "text", "virt": 0x1000, "last": 0x1FFF, "phys": 0, "rights": "rwxu",
         "size": 0x1000, "type": "uc-", "caller": 1}, {},
    ),
    "region": ({"name": "n", "role": "guard", "virt": 0, "last": 0xFFF}, {"phys": 0}),
    "table": ({"phys": 0x1000, "level": 4, "parent": 0, "caller": 1}, {}),
    "set": ({"entry": 0x1000, "level": 4, "index": 511, "old": 0, "new": 1, "caller": 1}, {}),
    "plan": (
        {"step": 0, "name": "n", "kind": "fetch", "virt": 0, "width": 1, "rip": 0}, {},
    ),
    "preflight": (REFUSED, {"level": 4, "index": 0, "entry": 0x1000, "value": 0}),
    "rehearse": ({"state": "refused"}, {"why": "no room", "what": "cr4", "value": 0x21, "vector": 13, "error": 0}),
    "rehearsal": ({"step": 0, "outcome": "fault", "vector": 14, "error": 0, "cr2": 0, "virt": 0}, {}),
    "exit": ({"status": 0, "attempts": 1}, {}),
    "fault": ({"by": "safe-idt", **FAULT}, {}),
    "check": ({"name": "n", "outcome": "fail"}, {"detail": "why"}),
    "summary": ({"pass": 1, "fail": 0}, {}),
}  # fmt: skip

# What a number or a word may not be, though it has the form of one.
ABSURD: list[tuple[str, str, Field]] = [
    ("rehearse", "state", "over"), ("rehearse", "state", "begin"), ("rehearse", "what", "cr8"), ("rehearse", "vector", 256),
    ("rehearsal", "outcome", "perhaps"), ("rehearsal", "vector", 256), ("rehearsal", "error", 1 << 32),
    ("cpu", "when", "now"), ("cpu", "maxphyaddr", 31), ("cpu", "maxphyaddr", 53),
    ("cpu", "idt_limit", 1 << 16), ("cpu", "gdt_limit", 1 << 16), ("cpu", "cs", 1 << 16),
    ("mmap", "index", 1), ("mmap", "total", 1 << 40), ("mmap", "total", 0),
    ("mmap", "d", ["0:1:7"]), ("mmap", "d", ["0:1:7:f:0"]), ("mmap", "d", ["0:x:7:f"]),
    ("segment", "last", 0xFFF), ("segment", "flags", "r-"), ("segment", "flags", "xwr"),
    ("map", "last", 0), ("map", "size", 0x2000), ("map", "rights", "rw"), ("map", "type", "ub"),
    ("table", "level", 0), ("table", "level", 6), ("set", "index", 512),
    ("plan", "step", 1), ("plan", "kind", "jump"), ("plan", "width", 1 << 63), ("plan", "width", 0),
    ("preflight", "outcome", "maybe"), ("preflight", "level", 9), ("preflight", "index", 512),
    ("check", "outcome", "maybe"),
]  # fmt: skip


def damage_of(kind: str, fields: dict[str, Field]) -> list[str]:
    writer = Writer()
    writer.put(kind, fields)
    writer.end()
    return [found.message for found in read_capture(writer.data).damage]


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_record_is_read_with_and_without_its_optional_fields(kind: str) -> None:
    required, optional = KINDS[kind]
    assert damage_of(kind, required) == []
    assert damage_of(kind, required | optional) == []


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind, (required, _) in KINDS.items() for key in required]
)
def test_a_record_without_a_required_field_is_damage_that_names_it(kind: str, key: str) -> None:
    fields = {name: value for name, value in KINDS[kind][0].items() if name != key}
    messages = damage_of(kind, fields)
    assert messages[0].startswith(f"{kind} record: ") and f"field {key} " in messages[0]


@pytest.mark.parametrize(("kind", "key", "value"), ABSURD)
def test_a_value_that_makes_no_sense_is_damage(kind: str, key: str, value: Field) -> None:
    required, optional = KINDS[kind]
    assert damage_of(kind, required | optional | {key: value})


FRAMING: dict[str, dict[str, Field]] = {
    "begin": {"producer": "loader", "version": "0"},
    "section": {"producer": "kernel"},
    "end": {"producer": "loader", "records": 1, "bytes": 2, "crc": 3, "next": "none"},
    "close": {"sink": "file"},
}


@pytest.mark.parametrize(
    ("kind", "key"), [(kind, key) for kind, fields in FRAMING.items() for key in fields]
)
def test_framing_without_a_required_field_is_damage(kind: str, key: str) -> None:
    writer = Writer()
    if kind == "section":
        writer.end("kernel")
    if kind == "begin":
        writer.lines.clear()
    fields = {name: value for name, value in FRAMING[kind].items() if name != key}
    writer.put(kind, fields)
    assert any(f"field {key} " in found.message for found in read_capture(writer.data).damage)


CONTENTS: dict[str, tuple[dict[str, Field], dict[str, Field]]] = {
    "dump": (
        {"id": "new", "cr3": 0x1000, "levels": 4},
        {"id": "new", "pages": 0, "bytes": 1, "crc": zlib.crc32(b"\0")},
    ),
    "memory": (
        {"name": "gdt", "when": "handoff", "virt": 0, "length": 1, "words": 0},
        {"name": "gdt", "bytes": 1, "crc": zlib.crc32(b"\0")},
    ),
}


def contents(kind: str, opening: dict[str, Field], closing: dict[str, Field]) -> list[str]:
    writer = Writer()
    writer.put(kind, opening)
    writer.put("d", o=0, b=b"\0")
    writer.put(f"{kind}-end", closing)
    writer.end()
    return [found.message for found in read_capture(writer.data).damage]


@pytest.mark.parametrize("kind", CONTENTS)
def test_contents_without_a_required_field_are_damage(kind: str) -> None:
    opening, closing = CONTENTS[kind]
    assert contents(kind, opening, closing) == []
    for key in opening:
        rest = {name: value for name, value in opening.items() if name != key}
        assert any(f"field {key} " in line for line in contents(kind, rest, closing)), key
    for key in closing:
        rest = {name: value for name, value in closing.items() if name != key}
        assert any(f"field {key} " in line for line in contents(kind, opening, rest)), key


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("dump", {"id": "other"}), ("dump", {"levels": 3}), ("memory", {"when": "later"}),
        ("memory", {"length": 1 << 40}), ("memory", {"words": 5}),
    ],
)  # fmt: skip
def test_contents_with_senseless_fields_are_damage(kind: str, changes: dict[str, Field]) -> None:
    opening, closing = CONTENTS[kind]
    assert contents(kind, opening | changes, closing)


@pytest.mark.parametrize("fields", [{"o": 0}, {"b": b"\0"}, {"o": 1, "b": b"\0"}])
def test_data_without_its_fields_or_with_a_gap_is_damage(fields: dict[str, Field]) -> None:
    writer = Writer()
    writer.put("dump", id="new", cr3=0x1000, levels=4)
    writer.put("d", fields)
    writer.end()
    assert len(read_capture(writer.data).damage) >= 2  # the record, and the dump that stays open
