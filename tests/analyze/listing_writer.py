"""Prints tables as QEMU's `info tlb` and `info mem` and Linux' page-table dump do, entry by entry.

It shares no code with the readers. The formats: target/i386/monitor.c of QEMU 7.2,
arch/x86/mm/dump_pagetables.c of Linux 6.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

Memory = Mapping[int, list[int]]
P, W, U, PWT, PCD, A, D, PS, G, NX = 1, 2, 4, 8, 16, 32, 64, 128, 256, 1 << 63
FRAME = 0x3FFFFFFFFF000
_TLB_FLAGS = ((NX, "X"), (G, "G"), (PS, "P"), (D, "D"), (A, "A"), (PCD, "C"), (PWT, "T"), (U, "U"),
              (W, "W"))  # fmt: skip


class Leaf(NamedTuple):
    virt: int
    level: int
    entry: int
    of_all: int  # bits that all levels have


def leaves(memory: Memory, root: int, levels: int = 4) -> Iterator[Leaf]:
    """Every present leaf in the order of the tables; a table that is no memory reads as zero."""

    def below(table: int, level: int, virt: int, inherited: int) -> Iterator[Leaf]:
        for index, entry in enumerate(memory.get(table, ())):
            at = virt | index << 12 + 9 * (level - 1)
            if not entry & P:
                continue
            if level == 1 or (level < 4 and entry & PS):
                top = 1 << 9 * levels + 11
                yield Leaf((at ^ top) - top & 2**64 - 1, level, entry, inherited & entry)
            else:
                yield from below(entry & FRAME, level - 1, at, inherited & entry)

    return below(root & FRAME, levels, 0, -1)


def info_tlb(found: Iterator[Leaf]) -> str:
    lines = []
    for leaf in found:
        size = 1 << 12 + 9 * (leaf.level - 1)
        entry = leaf.entry & ~PS if leaf.level == 1 else leaf.entry
        flags = "".join(letter if entry & bit else "-" for bit, letter in _TLB_FLAGS)
        lines.append(f"{leaf.virt:016x}: {leaf.entry & FRAME & -size:016x} {flags}\r\n")
    return "".join(lines)


def info_mem(found: Iterator[Leaf], levels: int = 4) -> str:
    """Ranges of equal W and U; the addresses are linear while ranges grow."""
    width = 9 * levels + 12

    def canonical(number: int) -> int:
        return number | -(1 << width) & 2**64 - 1 if number >> width - 1 & 1 else number

    lines = []
    start = end = rights = 0
    for leaf in [*found, None]:
        virt = -1 if leaf is None else leaf.virt & (1 << width) - 1
        its = 0 if leaf is None else leaf.of_all & (W | U)
        if end and (virt != end or its != rights):
            words = f"{'u' if rights & U else '-'}r{'w' if rights & W else '-'}"
            sizes = f"{canonical(start):016x}-{canonical(end):016x} {canonical(end - start):016x}"
            lines.append(f"{sizes} {words}\r\n")
            end = 0
        if leaf is not None:
            start, rights = (start if end else virt), its
            end = virt + (1 << 12 + 9 * (leaf.level - 1))
    return "".join(lines)


def ptdump_line(first: int, end: int, flags: int, level: str) -> str:
    """One line of the kernel; ``flags`` 0 is a range that is not mapped."""
    delta, unit = end - first & 2**64 - 1, 0
    while not delta & 1023 and unit < 6:
        delta, unit = delta >> 10, unit + 1
    words = " " * 26
    if flags & P:
        words = ("USR " if flags & U else "    ") + ("RW " if flags & W else "ro ")
        words += ("PWT " if flags & PWT else "    ") + ("PCD " if flags & PCD else "    ")
        words += ("PSE " if level != "pte" and flags & PS else "    ") + "    "
        words += ("GLB " if flags & G else "    ") + ("NX " if flags & NX else "x  ")
    return f"0x{first:016x}-0x{end:016x}   {delta:9}{'BKMGTPE'[unit]} {words}{level}\n"


def ptdump(found: Iterator[Leaf]) -> str:
    """The kernel joins neighbours of equal flags; here each leaf has a line, and holes are told."""
    lines, behind = ["---[ User Space ]---\n"], 0
    for leaf in found:
        if leaf.virt != behind:
            lines.append(ptdump_line(behind, leaf.virt, 0, "pgd"))
        behind = leaf.virt + (1 << 12 + 9 * (leaf.level - 1)) & 2**64 - 1
        name = {1: "pte", 2: "pmd", 3: "pud"}[leaf.level]
        lines.append(ptdump_line(leaf.virt, behind, leaf.entry, name))
    return "".join(lines)
