"""An ELF core of a CPU that stands before `mov cr3`, built page by page."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from cr3scope.input.sources.core_note import CoreCpu
from cr3scope.x86.segment import Segment, code_flags
from cr3scope.input.sources.write_core import write_core

OLD, NEW, CODE, STACK, TABLES = 0x1000, 0x2000, 0x200000, 0x201000, 0x202000
NX, LARGE, USER, PRESENT_WRITABLE = 1 << 63, 0x80, 4, 3
SWITCH = "0f22d8 50 58 ebfe"  # mov cr3, rax; push rax; pop rax; an endless loop
GATES, SEGMENTS = (TABLES, 0xFFF), (TABLES + 0x1000, 0x17)
CODE_64 = 0x00AF9B000000FFFF
LONG_MODE = {"CR0": 0x80010001, "CR4": 0x20}


def page(*entries: int) -> bytes:
    return struct.pack(f"<{len(entries)}Q", *entries).ljust(4096, b"\0")


def identity(root: int, veto: int = 0, also: int = 0) -> dict[int, bytes]:
    """The first GiB by large pages; ``veto`` is set in the top entry, ``also`` in all."""
    pdpt = root + 0x10000
    return {
        root: page(pdpt | PRESENT_WRITABLE | veto | also),
        pdpt: page(pdpt + 0x10000 | PRESENT_WRITABLE | also),
        pdpt + 0x10000: _leaves(also),
    }


@cache
def _leaves(also: int) -> bytes:
    return page(*(number << 21 | LARGE | PRESENT_WRITABLE | also for number in range(512)))


def memory(code: str = SWITCH, veto: int = 0, also: int = 0) -> dict[int, bytes]:
    return {
        **identity(OLD, also=also), **identity(NEW, veto),
        CODE: bytes.fromhex(code).ljust(4096, b"\0"), STACK: bytes(4096),
        TABLES: bytes(4096), TABLES + 0x1000: page(0, CODE_64, 0x00CF93000000FFFF),
    }  # fmt: skip


def cpu(selector: int = 8, **registers: int) -> CoreCpu:
    segments = {
        "CS": Segment(selector, 0, 0xFFFFFFFF, code_flags(64)), "TR": Segment(0),
        "IDT": Segment(0, *GATES), "GDT": Segment(0, *SEGMENTS),
    }  # fmt: skip
    wanted = {**LONG_MODE, "CR3": OLD, "RIP": CODE, "RSP": STACK + 0x800, "RAX": NEW, **registers}
    return CoreCpu(wanted, segments)


def core(
    folder: Path, pages: Mapping[int, bytes], one: CoreCpu | None = None, **words: str
) -> str:
    file = folder / "saved.core"
    file.write_bytes(write_core(one or cpu(), pages, {"efer": "0xd00", "platform": "tcg", **words}))
    return str(file)
