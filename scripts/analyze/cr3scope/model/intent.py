"""What the loader meant: which address is what, with which rights, in which frame.

Everything here comes from the trace's own words (``map``, ``region``, ``segment``, ``image``,
``memory``), never from the page tables, so that the tables can be judged against it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.message import Span
from cr3scope.x86.entry import ADDRESS_MASK, PAGE_FRAME

if TYPE_CHECKING:
    from cr3scope.input.capture.records import Boot
    from cr3scope.model.painted import Merged, Overlaps, Painted

HANDED_OVER_ROLES = frozenset({"boot-info", "memory-map", "initrd"})
# Nobody hands these over to be looked at only.
WRITTEN_ROLES = frozenset({"stack", "data", "framebuffer"})
CODE_ROLES = frozenset({"text", "trampoline"})
# The bytes that a CPU may use around RSP before a loader's naming of the stack matters.
_NEAR_STACK = 4096


@dataclass(frozen=True, slots=True)
class Named:
    """A virtual range with a meaning. ``rights`` and ``phys`` are None where nobody said."""

    name: str
    role: str
    virt: int
    last: int
    phys: int | None = None
    rights: str | None = None
    caller: int | None = None
    mapped: bool = True  # False for a range that is left unmapped on purpose, or merely named

    def __contains__(self, virt: int) -> bool:
        return self.virt <= virt <= self.last

    def overlaps(self, first: int, last: int) -> bool:
        return self.virt <= last and first <= self.last

    def frame(self, virt: int) -> int | None:
        """Return the 4 KiB frame meant for ``virt``; None if none is named."""
        if self.phys is None:
            return None
        return (self.phys + virt - self.virt) & PAGE_FRAME

    @property
    def size(self) -> int:
        return self.last - self.virt + 1

    @property
    def label(self) -> str:
        """Return name and role, as ``kernel.text (text)``, or just the name where the role says nothing more.
        """
        return self.name if self.role in ("", self.name) else f"{self.name} ({self.role})"


class Meaning(Protocol):
    """What addresses were meant to be, as far as anybody said: None and "" for what nobody did."""

    def is_code(self, virt: int) -> bool | None: ...

    def rights_at(self, virt: int) -> str | None: ...

    def role_at(self, virt: int) -> str: ...


class Intent:
    """Named ranges of one boot, looked up by virtual address."""

    def __init__(self, boot: Boot) -> None:
        self.boot = boot
        self.asked_below: dict[tuple[int, int, frozenset[str]], tuple[tuple[Span, ...], int]] = {}  # worked out once
        self.left_out: dict[str, None] = {}  # what was not looked at, past a budget, in words
        self.maps = [
            Named(m.name, m.role, m.virt, m.last, m.phys, m.rights, m.caller) for m in boot.maps
        ]
        self.regions = [
            Named(r.name, r.role, r.virt, r.last, r.phys, mapped=False) for r in boot.regions
        ]
        self.segments = [
            Named(
                f"{s.of} segment {s.index}",
                "text" if "x" in s.flags else "data" if "w" in s.flags else "rodata",
                s.virt,
                s.last,
                s.phys,
                s.flags,
            )
            for s in boot.segments
        ]
        # Firmware maps every image at its own physical address (UEFI 2.10, section 2.3.4).
        self.images = [
            Named(i.name, "loader", i.base, i.base + i.size - 1, i.base) for i in boot.images
        ]
        self.tables = [
            Named(m.name, m.name, m.virt, m.virt + max(len(m.data), 1) - 1)
            for (_, when), m in boot.memories.items()
            if when == "handoff" and m.name in ("gdt", "idt", "tss")
        ]

    def at(self, virt: int) -> Named | None:
        """Return what lives at ``virt``: the narrowest name; of equals, the one that came last.

        None if nothing is named.
        """
        return self._narrowest.at(virt)

    def parts(self) -> list[tuple[int, int, Named]]:
        """Return the inclusive parts of the address space, in order, each with the name that :meth:`at` gives it."""
        return self._narrowest.parts()

    def role_at(self, virt: int) -> str:
        """Return the role of what lives at ``virt``; "" if nobody named it."""
        named = self.at(virt)
        if named is not None and named.role:
            return named.role
        return "stack" if self._near_stack(virt) else ""

    def mapping_of(self, virt: int) -> Named | None:
        """Return the ``map`` call that covers ``virt``, None if none does.

        Of several the last, which is the one that counts.
        """
        return self.calls.at(virt)

    def frame_of(self, virt: int) -> int | None:
        """Return the frame that was meant for ``virt``, by whoever named it; None if nobody did."""
        named = self._framed.at(virt)
        return None if named is None else named.frame(virt)

    def is_code(self, virt: int) -> bool | None:
        """Return whether ``virt`` was meant to be executed; None if nobody said anything of it."""
        segments = [s for s in self.segments if virt in s]
        if segments:
            return any("x" in (s.rights or "") for s in segments)
        for image in self.boot.images:
            if image.base <= virt < image.base + image.size:
                return image.text <= virt - image.base < image.text + image.text_size
        named = self.mapping_of(virt)
        if named is None:
            region = next((region for region in self.regions if virt in region), None)
            return None if region is None else region.role in CODE_ROLES
        return "x" in (named.rights or "") or named.role in CODE_ROLES

    def rights_at(self, virt: int) -> str | None:
        """Return the rights asked for ``virt``, by the ELF file if it says, else by the loader's calls.

        None if nobody did.
        """
        named = next((one for one in self.segments if virt in one), None) or self.mapping_of(virt)
        return None if named is None else named.rights

    def within(self, first: int, last: int) -> Iterator[Named]:
        """Yield everything that was mapped, or that must be, inside an inclusive range, by address."""
        mapped = self._calls_by_place.overlapping(first, last)
        named_only = [
            named
            for named in [*self.segments, *self.images]
            if named.overlaps(first, last)
            and not self._calls_by_place.has_any((first, last), (named.virt, named.last))
        ]
        yield from sorted([*mapped, *named_only], key=lambda named: named.virt)

    def edges(self, first: int, last: int) -> list[int]:
        """Return the beginnings of pages behind ``first``, up to ``last``, at which what is named may change, in order.

        The first ones of very many.
        """
        begin, end = bisect_right(self._edges, first), bisect_right(self._edges, last)
        if end - begin > limits.EDGES:
            self.left_out["whether all that the plan touches is where it was meant to be"] = None
        return self._edges[begin : min(end, begin + limits.EDGES)]

    @cached_property
    def _edges(self) -> list[int]:
        from cr3scope.model.painted import page_edges

        return page_edges((*self.images, *self.segments, *self.regions, *self.maps))

    @cached_property
    def calls(self) -> Painted:
        """Return the ``map`` calls by address; the last one counts, which wrote the entry."""
        return _painted(reversed(self.maps))

    @cached_property
    def pools(self) -> Painted:
        """Return the pools of tables by what an entry can hold of their virtual addresses, where that is no physical one."""
        named = (one for one in (*self.maps, *self.regions) if one.role == "tables" and one.phys != one.virt)
        lows = ((one, one.virt & ADDRESS_MASK) for one in named)
        return _painted(replace(one, virt=low, last=low + one.size - 1) for one, low in lows)

    @cached_property
    def memory(self) -> Merged:
        """Return the physical addresses of memory and devices: by the firmware's map, and by what was asked for."""
        from cr3scope.model.painted import Merged

        asked = ((one.phys, one.phys + one.size - 1) for one in self.maps if one.phys is not None)
        return Merged.of([*asked, *((descriptor.first, descriptor.last) for descriptor in self.boot.memory_map)])

    @cached_property
    def table_pages(self) -> frozenset[int]:
        """Return the physical addresses of the tables that the trace tells of."""
        return frozenset(record.phys for record in self.boot.tables)

    def first_call(self, virt: int, letter: str) -> Named | None:
        """Return the first ``map`` call that asked for a right at ``virt``; None if none did."""
        if letter not in self._first_calls:
            self._first_calls[letter] = _painted(one for one in self.maps if letter in (one.rights or ""))
        return self._first_calls[letter].at(virt)

    @cached_property
    def _first_calls(self) -> dict[str, Painted]:
        return {}

    @cached_property
    def call_numbers(self) -> dict[int, int]:
        """Return the number of each ``map`` call, by its identity."""
        return {id(named): number for number, named in enumerate(self.maps)}

    @cached_property
    def _framed(self) -> Painted:
        everything = [*self.images, *self.segments, *self.regions, *self.maps]
        return _painted(named for named in reversed(everything) if named.phys is not None)

    @cached_property
    def _narrowest(self) -> Painted:
        everything = [*self.images, *self.segments, *self.maps, *self.tables, *self.regions]
        return _painted(sorted(reversed(everything), key=lambda named: named.size))

    @cached_property
    def _calls_by_place(self) -> Overlaps:
        from cr3scope.model.painted import Overlaps

        return Overlaps(self.maps)

    def _near_stack(self, virt: int) -> bool:
        cpu = self.boot.cpus.get("handoff")
        return cpu is not None and abs(virt - cpu.registers.get("rsp", 0)) <= _NEAR_STACK


def _painted(ordered: Iterable[Named]) -> Painted:
    from cr3scope.model.painted import Painted  # a log alone needs no arrays

    return Painted(ordered)
