"""How far what was meant for one page goes: the part of the address space that was mapped in one call."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.model.intent import WRITTEN_ROLES, Intent, Named
from cr3scope.x86.access import AccessKind
from cr3scope.x86.entry import PAGE_FRAME, PAGE_OFFSET

_LETTER = {AccessKind.FETCH: "x", AccessKind.WRITE: "w", AccessKind.READ: "r"}


def extent(intent: Intent, virt: int, kind: AccessKind) -> tuple[int, int]:
    """Return the inclusive range around ``virt``, in whole pages, that was to grant this access alike.

    It is the page alone where nobody named more. Of an image only its code is known to be one part.
    """
    for named in _named(intent, virt):
        if _LETTER[kind] in _rights(named):
            return named.virt & PAGE_FRAME, named.last | PAGE_OFFSET
    page = virt & PAGE_FRAME, virt | PAGE_OFFSET
    if kind is AccessKind.FETCH:
        return next((part for part in _code(intent) if part[0] <= virt <= part[1]), page)
    return page


def _named(intent: Intent, virt: int) -> Iterator[Named]:
    """Whoever named it, the one who knows best first: an ELF file, a call that mapped it, whoever gave it a role."""
    yield from (one for one in intent.segments if virt in one)
    mapped = intent.mapping_of(virt)
    if mapped is not None:
        yield mapped
    yield from (one for one in intent.regions if virt in one and one.phys is not None)


def _rights(named: Named) -> str:
    """What the supervisor may do in all of it: nothing that is told where pages are the user's."""
    if named.rights is None:
        return "rw" if named.role in WRITTEN_ROLES else "r"
    return "" if "u" in named.rights else named.rights


def _code(intent: Intent) -> list[tuple[int, int]]:
    found = []
    for image in intent.boot.images:
        first = image.base + image.text
        if image.text_size:
            found.append((first & PAGE_FRAME, first + image.text_size - 1 | PAGE_OFFSET))
    return found
