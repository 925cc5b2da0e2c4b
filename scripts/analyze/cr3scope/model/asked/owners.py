"""Who owns which physical memory, and which two claim the same."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.arrays import booleans
from cr3scope.dataclass import dataclass
from cr3scope.input.capture.records import Boot
from cr3scope.model.intent import HANDED_OVER_ROLES, Intent, Named
from cr3scope.model.painted import Merged, bounds
from cr3scope.model.stack_roles import STACK_ROLES
from cr3scope.x86.entry import PAGE_BYTES

_TABLES = "tables"
_MOST_OPEN = 32  # of the ranges that reach an address, the last ones: no boot nests so deep
_OWN_MEMORY = HANDED_OVER_ROLES | STACK_ROLES | {_TABLES}


@dataclass(frozen=True, slots=True)
class Owner:
    """A physical range, inclusive, and what was put there.

    ``virt`` is where its ``map`` call put it; None for what is known by its frame alone. ``room``:
    the part of it, as a physical range, in which other things may lie by design.
    """

    label: str
    kind: str
    first: int
    last: int
    virt: int | None = None
    caller: int | None = None
    room: tuple[int, int] | None = None


def owners(intent: Intent) -> list[Owner]:
    """Return who owns which memory: segments, the loader's image, table pages, and each range that has memory
    of its own."""
    found = [*_segments(intent), *_images(intent.boot), *_tables(intent.boot)]
    guards = Merged.of((region.virt, region.last) for region in intent.regions if region.role == "guard")
    own = [named for named in intent.maps if named.role in _OWN_MEMORY and named.phys is not None]
    for named, is_guarded in zip(own, booleans(guards.touches(*bounds(own))), strict=True):
        # What is mapped over a guard page is part of its stack, and guard-missing says so.
        if not is_guarded:
            found.extend(_mapped(named))
    handed = {(owner.kind, owner.first) for owner in found}
    for region in intent.regions:
        if region.role in HANDED_OVER_ROLES and (region.role, region.phys) not in handed:
            found.extend(_mapped(region))
    return found


def collisions(everything: list[Owner]) -> Iterator[tuple[Owner, Owner]]:
    """Yield the pairs that overlap and should not, by address."""
    active: list[Owner] = []
    for owner in sorted(everything, key=lambda owner: (owner.first, -owner.last)):
        active = [other for other in active if other.last >= owner.first]
        for other in active:
            if not _is_by_design(other, owner):
                yield other, owner
        active = [*active[1 - _MOST_OPEN :], owner]


def _is_by_design(one: Owner, other: Owner) -> bool:
    """``one`` begins no later than ``other``."""
    if one.kind == other.kind and one.kind not in STACK_ROLES:
        return True
    if _has_room_for(one, other) or _has_room_for(other, one):
        return True
    # Small things that are handed over may share a page.
    shared = min(one.last, other.last) - other.first
    return {one.kind, other.kind} <= HANDED_OVER_ROLES and shared < PAGE_BYTES


def _has_room_for(outer: Owner, inner: Owner) -> bool:
    """A variable of the loader, or of the kernel at its own address there."""
    if outer.room is None or not (outer.room[0] <= inner.first and inner.last <= outer.room[1]):
        return False
    return outer.virt is None or inner.virt == outer.virt + inner.first - outer.first


def _segments(intent: Intent) -> Iterator[Owner]:
    for named in intent.segments:
        if named.phys is not None:
            last = named.phys + named.size - 1
            room = (named.phys & -PAGE_BYTES, last | PAGE_BYTES - 1)
            holds_data = "x" not in (named.rights or "x")
            yield Owner(
                named.label,
                "segment",
                named.phys,
                last,
                named.virt,
                room=room if holds_data else None,
            )


def _images(boot: Boot) -> Iterator[Owner]:
    for image in boot.images:
        last = image.base + image.size - 1
        data = image.base + image.text + image.text_size
        yield Owner(f"the image {image.name}", "image", image.base, last, room=(data, last))


def _tables(boot: Boot) -> Iterator[Owner]:
    for record in boot.tables:
        last = record.phys + PAGE_BYTES - 1
        label = f"table page of level {record.level}"
        yield Owner(label, _TABLES, record.phys, last, caller=record.caller)


def _mapped(named: Named) -> Iterator[Owner]:
    if named.role in _OWN_MEMORY and named.phys is not None:
        last = named.phys + named.size - 1
        yield Owner(named.label, named.role, named.phys, last, named.virt, named.caller)
