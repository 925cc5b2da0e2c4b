"""ELF cores of a CPU before its switch: headers and notes that lie, tables that veto."""

from __future__ import annotations

import struct
from random import Random

from analyze import core_builder, naive_paging
from fuzz.logs import kept_as_file
from fuzz.noise import damaged, number
from fuzz.target import Case, Target, require, shown, verdict_of

from cr3scope.cli.analyze_core import judge_core
from cr3scope.errors import UnusableInput
from cr3scope.input.sources.core_note import CoreCpu
from cr3scope.input.sources.open import open_source
from cr3scope.input.sources.write_core import write_core
from cr3scope.paging.effective import mappings
from cr3scope.render.maps import as_blocks, json_text
from cr3scope.render.table import lines_of
from cr3scope.verdict.types import Status

_HEADER, _PROGRAM = 64, 56
_CODES = (core_builder.SWITCH, "0f22d8 ffe0", "0f22d8 e800000000 f4", "0f22d8 cf", "0f22d8 48cb", "0f22d8 0f01d3 ebfe", "0f22d8 f3a4 ebfe", "90 90 0f22d8 cc")
# Where in an ELF header and in a program header which number lies (System V ABI, chapters 4 and 5).
_IN_HEADER = ((16, "H"), (18, "H"), (32, "Q"), (40, "Q"), (52, "H"), (54, "H"), (56, "H"), (58, "H"), (60, "H"), (62, "H"))
_IN_PROGRAM = ((0, "I"), (8, "Q"), (16, "Q"), (24, "Q"), (32, "Q"), (40, "Q"))


def _words(rng: Random) -> dict[str, str]:
    words = {"efer": "0xd00", "platform": "tcg"}
    for key in ("efer", "maxphyaddr", "platform", "ram", "shown_cr3"):
        if rng.random() < 0.15:
            words[key] = rng.choice((f"{number(rng):#x}", "-1", "1e9", "99999999999", "tcg", "0x1000-0x2000", "x" * 50, str(10**30)))
    return words


def _pages(rng: Random, code: str, meant: dict[str, object]) -> dict[int, bytes]:
    """Memory; with entries of the new tables changed, which are then what the model walks."""
    pages = core_builder.memory(code)
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        phys = rng.choice((core_builder.NEW, core_builder.NEW + 0x10000, core_builder.NEW + 0x20000))
        table = list(struct.unpack("<512Q", pages[phys]))
        index = rng.choice((0, 1, 510, 511)) if rng.random() < 0.6 else rng.randrange(512)
        table[index] = number(rng, table[index])
        pages[phys] = struct.pack("<512Q", *table)
    meant["pages"] = pages
    return pages


def _make(rng: Random) -> Case:
    meant: dict[str, object] = {"page": rng.random() < 0.02}
    honest = rng.random() < 0.4
    code = core_builder.SWITCH if honest else rng.choice(_CODES)
    pages = _pages(rng, code, meant)
    cpu = core_builder.cpu()
    words = {"efer": "0xd00", "platform": "tcg"} if honest else _words(rng)
    if not honest:
        registers = {name: number(rng, value) if rng.random() < 0.1 else value for name, value in cpu.registers.items()}
        segments = {name: type(each)(each.selector, number(rng, each.base) if rng.random() < 0.1 else each.base,
                                     number(rng, each.limit, 32) if rng.random() < 0.1 else each.limit, each.flags) for name, each in cpu.segments.items()}  # fmt: skip
        cpu = CoreCpu(registers, segments)
    data = bytearray(write_core(cpu, pages, words))
    meant["honest"] = honest
    if not honest and rng.random() < 0.6:
        _lie(rng, data)
    return Case(bytes(data), ".core", meant)


def _lie(rng: Random, data: bytearray) -> None:
    """Change numbers of the headers, or bytes of the notes."""
    count = struct.unpack_from("<H", data, 56)[0]
    for _ in range(rng.choice((1, 1, 2, 4))):
        if rng.random() < 0.4:
            at, form = rng.choice(_IN_HEADER)
        else:
            at, form = rng.choice(_IN_PROGRAM)
            at += _HEADER + _PROGRAM * rng.randrange(max(count, 1))
        bits = 8 * struct.calcsize(form)
        if at + bits // 8 <= len(data):
            struct.pack_into("<" + form, data, at, number(rng, struct.unpack_from("<" + form, data, at)[0], bits))
    if rng.random() < 0.3:
        notes = _HEADER + _PROGRAM * count
        data[notes : notes + 700] = damaged(rng, bytes(data[notes : notes + 700]))


def _check(case: Case) -> None:
    with kept_as_file(case.data, ".core") as path:
        verdict, _ = verdict_of(lambda: judge_core(path, []), bool(case.meant.get("page")))
        try:
            source = open_source(path)
            found = mappings(source.tables, source.cpu)
            for line in lines_of(as_blocks(found, source.tables, source.cpu, source.description, None)):
                shown(line)
            for piece in json_text(found, (), None):
                shown(piece)
        except UnusableInput as error:
            require(str(error).strip(), "a refusal without a word")
    if case.meant.get("honest") and verdict is not None and verdict.status is Status.HEALTHY:
        pages: dict[int, bytes] = case.meant["pages"]  # type: ignore[assignment]
        why = _vetoed({phys: list(struct.unpack("<512Q", data)) for phys, data in pages.items()})
        require(why is None, f"HEALTHY, although {why}")


def _vetoed(tables: dict[int, list[int]]) -> str | None:
    """Return which access behind the switch a walk of the tests' own refuses."""
    machine = naive_paging.Machine(root=core_builder.NEW, wp=False, nxe=True, maxphyaddr=40, tcg=True)
    stack = core_builder.STACK + 0x800
    for virt, kind, width in ((core_builder.CODE + 3, "fetch", 4), (stack - 8, "write", 8), (stack - 8, "read", 8)):
        outcome = naive_paging.access(tables, machine, virt, kind, width=width)
        if outcome.vector is not None:
            return f"the {kind} at {virt:#x} raises {outcome.vector}"
    return None


CORE = Target("core", _make, _check, ("input/sources/elf_core.py", "input/sources/core_note.py", "target/core_cpu.py", "input/sources/physical_memory.py"))
