"""What a core must hold so that the prediction can be made again from it."""

from __future__ import annotations

from collections.abc import Mapping

from cr3scope.input.sources.core_note import CoreCpu
from cr3scope.input.sources.core_words import words_of
from cr3scope.input.sources.write_core import write_core
from cr3scope.target.stopped_cpu import BASES, StoppedCpu
from cr3scope.x86.segment import Segment, code_flags
from cr3scope.x86.word import MASK32

_FLAT = MASK32


def core_of(now: StoppedCpu, pages: Mapping[int, bytes], shown: int, trace: bytes = b"") -> bytes:
    """Return an ELF core of the CPU as it stands, with these pages of memory by physical address.

    ``shown``: the CR3 whose tables `maps`, `walk` and `diff` take if nobody names another; ``trace``: what the
    loader told of this boot, as its sink received it. ValueError or
    struct.error if the pages are too many for an ELF core.
    """
    bases = {name.partition("_")[0]: now.registers.get(name, 0) for name in BASES}
    flat = {name: Segment(selector, bases.get(name, 0), _FLAT) for name, selector in now.selectors.items()}
    segments = {**flat, **now.segments}
    if "CS" not in now.segments:
        segments["CS"] = Segment(now.selectors.get("CS", 0), 0, _FLAT, code_flags(now.code_bits))
    for name, table in (("IDT", now.idt), ("GDT", now.gdt)):
        if table is not None:
            segments[name] = Segment(0, table.base, table.limit)
    words = words_of(shown, now.cpu.efer, now.phys_bits, now.platform, now.ram())
    return write_core(CoreCpu(now.registers, segments), pages, words, trace)
