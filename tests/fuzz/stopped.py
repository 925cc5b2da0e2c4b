"""Cores of small boots whose CPU stands at its `mov cr3`: what is foreseen of the code behind it is what the tests' own walk meets."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from analyze import boot_builder as builder
from analyze import naive_paging
from fuzz.logs import kept_as_file
from fuzz.small_boots import CR0, MAXPHYADDR, Layout, descriptor_tables, laid_out
from fuzz.target import Case, Target, is_silent, require, verdict_of

from cr3scope.cli.analyze_core import judge_core
from cr3scope.input.sources.core_note import CoreCpu
from cr3scope.input.sources.write_core import write_core
from cr3scope.verdict.types import Verdict
from cr3scope.x86.segment import Segment, code_flags

_OLD = 0x1000  # nothing of a small boot lies below 2 MiB
_GIB, _LARGE_WRITABLE, _LINK = 1 << 30, 0x83, 3
_OWN = ("text", "rodata", "data", "stack")  # of the kernel
_SWITCH = 0x31  # of the trampoline's page: mov cr3, rax


@dataclass(frozen=True)
class _Touch:
    """An access of the code, and where it is to lead."""

    kind: str
    virt: int
    width: int
    phys: int


class _Read(dict[int, tuple[int, ...]]):
    """Any page as a table, once an entry leads to it."""

    def __init__(self, pages: Mapping[int, bytes]) -> None:
        super().__init__()
        self._pages = pages

    def __contains__(self, phys: object) -> bool:
        return phys in self._pages

    def __missing__(self, phys: int) -> tuple[int, ...]:
        entries = self[phys] = struct.unpack("<512Q", self._pages[phys])
        return entries


def _code(layout: Layout) -> tuple[dict[int, bytes], list[_Touch]]:
    """Return the code by its physical address, and its accesses behind the switch in their order."""
    trampoline, text, stack, data = (layout.of(role) for role in ("trampoline", "text", "stack", "data"))
    top, at = stack.virt + stack.size, trampoline.virt + _SWITCH + 3
    switch = b"\x0f\x22\xd8" + b"\x48\xbc" + struct.pack("<Q", top) + b"\x48\xb8" + struct.pack("<Q", text.virt) + b"\xff\xe0"
    kernel = b"\x50\x48\xb8" + struct.pack("<Q", data.virt) + b"\xc6\x00\x01\xf4\xeb\xfd"  # push rax; mov rax, data; mov byte [rax], 1; hlt
    touches = [
        _Touch("fetch", at, len(switch) - 3, trampoline.phys + _SWITCH + 3), _Touch("fetch", text.virt, len(kernel), text.phys),
        _Touch("write", top - 8, 8, stack.phys + stack.size - 8), _Touch("write", data.virt, 1, data.phys),
    ]  # fmt: skip
    return {trampoline.phys + _SWITCH: switch, text.phys: kernel}, touches


def _old_tables(levels: int) -> Iterator[tuple[int, bytes]]:
    """The first 4 GiB where they lie, by pages of 1 GiB."""
    for number in range(levels - 3):
        yield _OLD + 0x1000 * number, struct.pack("<Q", _OLD + 0x1000 * (number + 1) | _LINK).ljust(4096, b"\0")
    yield _OLD + 0x1000 * (levels - 3), struct.pack("<4Q", *(_GIB * number | _LARGE_WRITABLE for number in range(4))).ljust(4096, b"\0")


def _memory(layout: Layout, tables: Mapping[int, list[int]], contents: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return the pages of RAM that hold something, and those that the ranges have."""
    pages = {one.phys + offset: bytes(4096) for one in layout.ranges if one.virt == one.phys or one.role in _OWN for offset in range(0, one.size, 4096)}
    pages |= {phys: struct.pack("<512Q", *entries) for phys, entries in tables.items()}
    pages |= dict(_old_tables(layout.levels))
    for phys, data in contents.items():
        page, offset = phys & ~0xFFF, phys & 0xFFF
        pages[page] = pages[page][:offset] + data + pages[page][offset + len(data) :]
    return pages


def _cpu(layout: Layout) -> CoreCpu:
    loader = layout.of("loader").virt
    segments = {
        "CS": Segment(builder.CODE_SELECTOR, 0, 0xFFFFFFFF, code_flags(64)), "TR": Segment(0),
        "GDT": Segment(0, loader, len(builder.gdt()) - 1), "IDT": Segment(0, loader + 0x1000, 0x1FF),
    }  # fmt: skip
    return CoreCpu({"CR0": CR0, "CR3": _OLD, "CR4": layout.cr4, "RIP": layout.of("trampoline").virt + _SWITCH,
                    "RSP": loader + 0x3F00, "RAX": layout.root, "RFLAGS": 2}, segments)  # fmt: skip


def _make(rng: Random) -> Case:
    layout = laid_out(rng, has_idt=True)
    tables = {phys: list(entries) for phys, entries in layout.tables.items()}
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        entries = tables[rng.choice(list(tables))]
        entries[rng.choice([index for index, entry in enumerate(entries) if entry])] ^= 1 << rng.choice((0, 1, 2, 5, 6, 7, 63, *range(12, 52)))
    code, touches = _code(layout)
    described = {virt: data for _, virt, data, _ in descriptor_tables(layout.of("loader"), layout.of("trampoline").virt)}
    words = {"efer": "0xd00", "platform": "tcg", "maxphyaddr": str(MAXPHYADDR)}
    pages = _memory(layout, tables, {**described, **code})
    core = write_core(_cpu(layout), pages, words)
    return Case(core, ".core", {"whole": tables == layout.tables, "tables": _Read(pages), "touches": touches, "root": layout.root, "levels": layout.levels})


def _check(case: Case) -> None:
    with kept_as_file(case.data, ".core") as path:
        verdict, words = verdict_of(lambda: judge_core(path, []))
    assert verdict is not None, words
    if case.meant["whole"]:
        require(is_silent(verdict), f"of a healthy CPU: {words[:300]}")
    _require_the_walk(case, verdict)


def _require_the_walk(case: Case, verdict: Verdict) -> None:
    """Find unless the exception is foreseen that comes first, and none where none comes; behind bytes that are others, anything is."""
    machine = naive_paging.Machine(case.meant["root"], case.meant["levels"], maxphyaddr=MAXPHYADDR, tcg=True)  # type: ignore[arg-type]
    first = None if verdict.prediction is None else verdict.prediction.first
    mine = None if first is None else (first.vector, first.error_code, first.cr2)
    for touch in case.meant["touches"]:  # type: ignore[attr-defined]
        found = naive_paging.access(case.meant["tables"], machine, touch.virt, touch.kind, width=touch.width)  # type: ignore[arg-type]
        if found.vector is not None:
            met = found.vector, found.error, found.cr2
            require(mine == met, f"{mine} is foreseen, and the {touch.kind} at {touch.virt:#x} meets {met}")
            return
        if found.phys != touch.phys:
            return
    require(mine is None, f"{mine} is foreseen of code that goes through")


STOPPED = Target("stopped", _make, _check, ())
