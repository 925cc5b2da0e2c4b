"""What the loader meant: which address is what, with which rights, in which frame.

Everything here comes from the trace's own words (``map``, ``region``, ``segment``, ``image``,
``memory``), never from the page tables, so that the tables can be judged against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cr3scope.x86.entry import PAGE_FRAME

if TYPE_CHECKING:
    from cr3scope.input.capture.records import Boot

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
        covering = sorted(self._covering(virt), key=lambda named: named.size)
        return covering[0] if covering else None

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
        return next((named for named in reversed(self.maps) if virt in named), None)

    def frame_of(self, virt: int) -> int | None:
        """Return the frame that was meant for ``virt``, by whoever named it; None if nobody did."""
        for named in reversed([*self.images, *self.segments, *self.regions, *self.maps]):
            if virt in named and named.phys is not None:
                return named.frame(virt)
        return None

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
        for named in [*self.segments, *reversed(self.maps)]:
            if virt in named:
                return named.rights
        return None

    def within(self, first: int, last: int) -> Iterator[Named]:
        """Yield everything that was mapped, or that must be, inside an inclusive range, by address."""
        mapped = [named for named in self.maps if named.overlaps(first, last)]
        named_only = [
            named
            for named in [*self.segments, *self.images]
            if named.overlaps(first, last)
            and not any(m.overlaps(named.virt, named.last) for m in mapped)
        ]
        yield from sorted([*mapped, *named_only], key=lambda named: named.virt)

    def _covering(self, virt: int) -> Iterator[Named]:
        everything = [*self.images, *self.segments, *self.maps, *self.tables, *self.regions]
        return (named for named in reversed(everything) if virt in named)

    def _near_stack(self, virt: int) -> bool:
        cpu = self.boot.cpus.get("handoff")
        return cpu is not None and abs(virt - cpu.registers.get("rsp", 0)) <= _NEAR_STACK
