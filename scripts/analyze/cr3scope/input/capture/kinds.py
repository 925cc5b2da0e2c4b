"""Every kind of record that stands alone: its fields, checked and typed, put into the boot."""

from __future__ import annotations

import re
from collections.abc import Callable

from cr3scope.input.capture.fields import Fields, Malformed
from cr3scope.input.capture.records import (
    ApRecord,
    Boot,
    CallRecord,
    CheckRecord,
    CpuRecord,
    ElfRecord,
    FaultRecord,
    ImageRecord,
    LoadedRecord,
    MapRecord,
    PlanStep,
    PreflightRecord,
    RefusedRegister,
    RegionRecord,
    RehearsalRecord,
    RehearseRecord,
    SegmentRecord,
    SetRecord,
    StartupRecord,
    TableRecord,
    TaskRecord,
)
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CR0_PG, EFER_LMA
from cr3scope.x86.entry import ENTRIES, PAGE_BYTES
from cr3scope.x86.word import MASK32

RIGHTS = re.compile(r"[r-][w-][x-][u-]?")
_SEGMENT_FLAGS = re.compile(r"[r-][w-][x-]")
MEMORY_TYPES = ("wb", "wt", "uc-", "uc", "wp", "wc")
PAGE_SIZES = (1 << 12, 1 << 21, 1 << 30)
# Wider is no access: every page of it is walked.
_MOST_ACCESS_BYTES = 1 << 28
_REGISTERS = (
    "cr0", "cr2", "cr3", "cr4", "cr8", "efer", "pat", "gdt_base", "gdt_limit", "idt_base",
    "idt_limit", "tr", "ldtr", "cs", "ss", "ds", "es", "fs", "gs", "rsp", "rip", "rflags",
)  # fmt: skip
_ENTRY_REGISTERS = ("rax", "rcx", "rdx", "rsi", "rdi")
# Selectors and table limits.
_MOST_16_BITS = 0xFFFF
_SIXTEEN_BITS = {"gdt_limit", "idt_limit", "tr", "ldtr", "cs", "ss", "ds", "es", "fs", "gs"}
_FAULT_REGISTERS = (
    "vector", "error", "cr2", "cr3", "rip", "rsp", "rflags", "cs", "ss", "rax", "rbx", "rcx", "rdx",
    "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip


def _range(fields: Fields) -> tuple[int, int]:
    virt, last = fields.number("virt"), fields.number("last")
    if last < virt:
        raise Malformed(f"a range that ends at {last:#x} before it starts at {virt:#x}")
    return virt, last


def _level(fields: Fields) -> int:
    level = fields.number("level")
    if not 1 <= level <= 5:
        raise Malformed(f"field level is {level:#x}: none of 1 to 5")
    return level


def _index(fields: Fields) -> int:
    return fields.number("index", ENTRIES - 1)


def _register(fields: Fields, key: str) -> int:
    return fields.number(key, _MOST_16_BITS) if key in _SIXTEEN_BITS else fields.number(key)


def _config(fields: Fields, _line: int, boot: Boot) -> None:
    for key in fields.keys():
        boot.config[key] = fields.text(key)


def _firmware(fields: Fields, _line: int, boot: Boot) -> None:
    revision, uefi = fields.number("revision"), fields.number("uefi")
    boot.firmware = f"{fields.text('vendor')} {revision:#x} (UEFI {uefi >> 16}.{uefi & 0xFFFF})"


def _cpu(fields: Fields, line: int, boot: Boot) -> None:
    when = fields.word("when", "entry", "handoff")
    bits = fields.number("maxphyaddr")
    if not 32 <= bits <= 52:
        raise Malformed(f"field maxphyaddr is {bits:#x}: none of 32 to 52 bits")
    registers = {key: _register(fields, key) for key in _REGISTERS}
    if registers["efer"] & EFER_LMA and not registers["cr0"] & CR0_PG:  # Intel SDM volume 3A, 11.8.5
        raise Malformed(f"field cr0 is {registers['cr0']:#x}: no PG, but long mode is active in efer")
    if when in boot.cpus:
        raise Malformed(f"that of when={when} stands twice")
    boot.cpus[when] = CpuRecord(line, when, registers, bits, fields.text("vendor"), frozenset(fields.items("features")))


def _entry(fields: Fields, _line: int, boot: Boot) -> None:
    """Joins the `cpu` record of the handoff, which older writers leave without it."""
    cpu = boot.cpus.get("handoff")
    if cpu is None:
        raise Malformed("no cpu record of the handoff before it")
    cpu.registers.update({key: fields.number(key) for key in _ENTRY_REGISTERS})


def _image(fields: Fields, line: int, boot: Boot) -> None:
    numbers = {key: fields.number(key) for key in ("base", "size", "text", "text_size")}
    boot.images.append(
        ImageRecord(
            line,
            fields.text("name"),
            numbers["base"],
            numbers["size"],
            fields.optional_text("build_id") or None,
            numbers["text"],
            numbers["text_size"],
            fields.optional_text("file") or None,
        )
    )


def _elf(fields: Fields, line: int, boot: Boot) -> None:
    boot.elfs.append(
        ElfRecord(
            line,
            fields.text("name"),
            fields.number("entry"),
            fields.number("size"),
            fields.number("machine"),
            fields.optional_text("build_id") or None,
            fields.word("traces", "yes", "no") == "yes" if "traces" in fields else None,
        )
    )


def _segment(fields: Fields, line: int, boot: Boot) -> None:
    boot.segments.append(
        SegmentRecord(
            line,
            fields.text("of"),
            fields.number("index"),
            *_range(fields),
            fields.number("phys"),
            fields.number("filesz"),
            fields.number("memsz"),
            fields.number("offset"),
            fields.letters("flags", _SEGMENT_FLAGS),
        )
    )


def _loaded(fields: Fields, line: int, boot: Boot) -> None:
    of, index = fields.text("of"), fields.number("index")
    differs, nonzero = fields.optional_number("differs"), fields.optional_number("nonzero")
    boot.loaded.append(LoadedRecord(line, of, index, differs, nonzero))


def _map(fields: Fields, line: int, boot: Boot) -> None:
    size = fields.number("size")
    if size not in PAGE_SIZES:
        raise Malformed(f"field size is {size:#x}: no page size")
    boot.maps.append(
        MapRecord(
            line,
            fields.text("name"),
            fields.text("role"),
            *_range(fields),
            fields.number("phys"),
            fields.letters("rights", RIGHTS),
            size,
            fields.word("type", *MEMORY_TYPES),
            fields.number("caller"),
        )
    )


def _region(fields: Fields, line: int, boot: Boot) -> None:
    name, role = fields.text("name"), fields.text("role")
    phys = fields.optional_number("phys")
    boot.regions.append(RegionRecord(line, name, role, *_range(fields), phys))


def _table(fields: Fields, line: int, boot: Boot) -> None:
    phys, parent, caller = (fields.number(key) for key in ("phys", "parent", "caller"))
    boot.tables.append(TableRecord(line, phys, _level(fields), parent, caller))


def _set(fields: Fields, line: int, boot: Boot) -> None:
    entry, old, new, caller = (fields.number(key) for key in ("entry", "old", "new", "caller"))
    boot.sets.append(SetRecord(line, entry, _level(fields), _index(fields), old, new, caller))


def _plan(fields: Fields, line: int, boot: Boot) -> None:
    step = fields.number("step")
    if step != len(boot.plan):
        raise Malformed(f"step {step:#x} of the plan where {len(boot.plan):#x} was due")
    word = fields.word("kind", "interrupt", *(kind.value for kind in AccessKind))
    vector = fields.number("vector", 0xFF) if word == "interrupt" else None
    kind = AccessKind.FETCH if word == "interrupt" else AccessKind(word)
    virt, rip = fields.number("virt"), fields.number("rip")
    align = fields.number("align", 64) if "align" in fields else 1
    if align == 0 or align & (align - 1):
        raise Malformed(f"field align is {align}: no power of two")
    width = fields.number("width", _MOST_ACCESS_BYTES)
    if width == 0:
        raise Malformed("field width is 0: an access has at least one byte")
    name = fields.text("name")
    boot.plan.append(PlanStep(line, step, name, kind, virt, width, rip, align, vector))


def _preflight(fields: Fields, line: int, boot: Boot) -> None:
    step = fields.number("step")
    if fields.word("outcome", "ok", "fault") == "ok":
        boot.preflight.append(PreflightRecord(line, step, True))
        return
    boot.preflight.append(
        PreflightRecord(
            line,
            step,
            False,
            fields.number("vector"),
            fields.number("error"),
            fields.number("cr2"),
            _level(fields) if "level" in fields else None,
            _index(fields) if "index" in fields else None,
            fields.optional_number("entry"),
            fields.optional_number("value"),
        )
    )


def _rehearse(fields: Fields, line: int, boot: Boot) -> None:
    state = fields.word("state", "begin", "end", "refused")
    refused = None
    if "what" in fields:
        name, value = fields.word("what", "cr0", "cr3", "cr4", "efer"), fields.number("value")
        refused = RefusedRegister(name, value, fields.number("vector", 0xFF), fields.number("error", MASK32))
        if state != "refused":
            raise Malformed(f"field what of a rehearsal that is not refused: {name}")
    boot.rehearse = RehearseRecord(line, state, fields.optional_text("why") or "", refused)


def _rehearsal(fields: Fields, line: int, boot: Boot) -> None:
    step, outcome = fields.number("step"), fields.word("outcome", "ok", "fault", "untried")
    if outcome != "fault":
        boot.rehearsal.append(RehearsalRecord(line, step, outcome == "ok", why=fields.optional_text("why") or ""))
        return
    vector, error = fields.number("vector", 0xFF), fields.number("error", MASK32)
    boot.rehearsal.append(RehearsalRecord(line, step, True, vector, error, fields.number("cr2"), fields.number("virt")))


def _exit(fields: Fields, _line: int, boot: Boot) -> None:
    boot.exit = (fields.number("status"), fields.number("attempts"))


def _call(fields: Fields, line: int, boot: Boot) -> None:
    left = boot.exit is not None and boot.exit[0] == 0
    boot.calls.append(CallRecord(line, fields.text("what"), left))


def _fault(fields: Fields, line: int, boot: Boot) -> None:
    registers = {key: fields.number(key) for key in _FAULT_REGISTERS}
    boot.faults.append(FaultRecord(line, fields.text("by"), registers))


def _check(fields: Fields, line: int, boot: Boot) -> None:
    passed = fields.word("outcome", "pass", "fail") == "pass"
    detail = fields.optional_text("detail") or ""
    cpu = fields.optional_number("cpu") or 0
    boot.checks.append(CheckRecord(line, fields.text("name"), passed, detail, cpu))


def _startup(fields: Fields, line: int, boot: Boot) -> None:
    vector, later = fields.number("vector", 0xFF), fields.number("later", PAGE_BYTES)
    code, data = fields.number("code", MASK32), fields.number("data", MASK32)
    boot.startup = StartupRecord(line, vector, code, data, later, fields.optional_number("differs"))


def _ap(fields: Fields, line: int, boot: Boot) -> None:
    cpu, apic_id = fields.number("cpu", MASK32), fields.number("apic_id", MASK32)
    boot.aps.append(ApRecord(line, cpu, apic_id, fields.number("stack")))


def _starting(fields: Fields, _line: int, boot: Boot) -> None:
    boot.starting.append(fields.number("cpu", MASK32))


def _task(fields: Fields, line: int, boot: Boot) -> None:
    boot.tasks.append(TaskRecord(line, fields.number("cpu", MASK32), fields.number("tr", _MOST_16_BITS), fields.number("phys")))


def _summary(fields: Fields, _line: int, boot: Boot) -> None:
    """What failed stays failed: a later one that tells of no failure takes nothing back."""
    told = (fields.number("pass"), fields.number("fail"))
    if boot.summary is None or told[1] or not boot.summary[1]:
        boot.summary = told


def _error(fields: Fields, _line: int, boot: Boot) -> None:
    status = fields.optional_number("status") or 0
    boot.errors.append((fields.text("where"), fields.text("what"), status))


HANDLERS: dict[str, Callable[[Fields, int, Boot], None]] = {
    "config": _config,
    "firmware": _firmware,
    "cpu": _cpu,
    "entry": _entry,
    "image": _image,
    "elf": _elf,
    "segment": _segment,
    "loaded": _loaded,
    "map": _map,
    "region": _region,
    "table": _table,
    "set": _set,
    "plan": _plan,
    "preflight": _preflight,
    "rehearse": _rehearse,
    "rehearsal": _rehearsal,
    "exit": _exit,
    "call": _call,
    "fault": _fault,
    "check": _check,
    "startup": _startup,
    "ap": _ap,
    "starting": _starting,
    "task": _task,
    "summary": _summary,
    "error": _error,
}
