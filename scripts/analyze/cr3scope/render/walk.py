"""How a walk and an access read: as text, and as the contract ``cr3scope.walk/1``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.paging.walk import PageFault, Reason, Translation, Walk
from cr3scope.render.sizes import size_text
from cr3scope.render.table import Block, Cell, Table, lines_of
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import PagingMode
from cr3scope.x86.exceptions import PROTECTION
from cr3scope.x86.names import entry_name, value_words

SCHEMA = "cr3scope.walk/1"
_STOPS = {
    Reason.NOT_PRESENT: "not-present",
    Reason.RESERVED: "reserved",
    Reason.TABLE_UNREADABLE: "unreadable",
}


def as_dict(
    path: Walk, found: Translation | PageFault | None, warnings: Sequence[str], paging: PagingMode | None = None
) -> dict[str, object]:
    """Return the plain values of the JSON document. Addresses are hex strings, ``paging`` is None where nobody told.

    ``found``: None where the way leads to a table that is not at hand.
    """
    fault = found if isinstance(found, PageFault) else None
    page = found if isinstance(found, Translation) else None
    return {
        "schema": SCHEMA,
        "paging": paging.value if paging else None,
        "outcome": "fault" if fault else "translated" if page else "unknown",
        "virt": f"{path.virt:#x}",
        "phys": None if page is None else f"{page.phys:#x}",
        "page_size": None if path.stop else path.page_size,
        "rights": "????" if found is None else "----" if path.stop else path.rights,
        "vector": fault.vector if fault else None,
        "error_code": fault.error_code if fault else None,
        "cr2": None if fault is None or fault.cr2 is None else f"{fault.cr2:#x}",
        "reason": fault.reason.value if fault else None,
        "guilty": [entry_name(entry) for entry in _guilty(found)],
        "levels": [
            {
                "level": entry.level,
                "index": entry.index,
                "phys": f"{entry.phys:#x}",
                "value": f"{entry.value:#x}",
                "veto": vetoes(path, entry),
            }
            for entry in path.entries
        ],
        "warnings": list(warnings),
    }


def vetoes(path: Walk, entry: EntryRef) -> list[str]:
    """Return what this entry denies whatever the others grant: ``w``, ``x``, ``u``, or the whole walk."""
    if path.stop is not None and entry is path.leaf:
        return [_STOPS[path.stop]]
    return list(entry.form.denied_rights(entry.value))


def as_text(path: Walk, found: Translation | PageFault | None, access: str) -> Iterator[str]:
    """Yield :func:`as_blocks` as lines."""
    return lines_of(as_blocks(path, found, access))


def as_blocks(path: Walk, found: Translation | PageFault | None, access: str) -> Iterator[Block]:
    """Yield the answer first, then the entries from the top; ``found`` as in :func:`as_dict`."""
    yield Cell(_answer(path, found, access), "error" if isinstance(found, PageFault) else "good" if found else "")
    if not path.entries:
        return
    yield ""
    guilty = _guilty(found)
    yield Table(
        ("entry", "at", "value", "bits", "denies"),
        [_row(path, entry, entry in guilty) for entry in path.entries],
        least=(10, 18, 18, 26),
    )


def _row(path: Walk, entry: EntryRef, is_guilty: bool) -> tuple[Cell, ...]:
    style = "error" if is_guilty else ""
    mark = "  <- here" if is_guilty else ""
    return (
        Cell(entry_name(entry), style),
        Cell(f"{entry.phys:#018x}"),
        Cell(value_words(entry)),
        Cell(bit_names(entry)),
        Cell(" ".join(vetoes(path, entry)) + mark, style or "dim"),
    )


def _answer(path: Walk, found: Translation | PageFault | None, access: str) -> str:
    if found is None:
        return f"{path.virt:#x}: not known: {entry_name(path.leaf)} points to the table at {path.missing_table:#x}, which is not here"
    if isinstance(found, Translation):
        if not path.entries:
            return f"{path.virt:#x} -> {found.phys:#x}, paging is off: {access} succeeds"
        size = size_text(found.page_size)
        return f"{path.virt:#x} -> {found.phys:#x}, {size} page, {found.rights}: {access} succeeds"
    if found.vector == PROTECTION:
        return f"{path.virt:#x}: {access} faults: #GP: {found.reason.value}"
    names = ", ".join(entry_name(entry) for entry in found.guilty)
    where = f" ({names})" if names else ""
    return (
        f"{path.virt:#x}: {access} faults: #PF, error code {found.error_code:04x}:"
        f" {found.reason.value}{where}"
    )


def _guilty(found: Translation | PageFault | None) -> tuple[EntryRef, ...]:
    return found.guilty if isinstance(found, PageFault) else ()


# Flags of an entry in the manuals' letters: bit, and the entries in which it means that: any, a leaf, one that has PS
# (upper), a PTE, a large leaf.
NAMED_BITS = (
    ("P", bits.PRESENT, "any"), ("W", bits.WRITABLE, "any"), ("U", bits.USER, "any"), ("PWT", bits.WRITE_THROUGH, "any"),
    ("PCD", bits.CACHE_DISABLE, "any"), ("A", bits.ACCESSED, "any"), ("D", bits.DIRTY, "leaf"), ("PS", bits.LARGE, "upper"),
    ("G", bits.GLOBAL, "leaf"), ("PAT", bits.PAT_4K, "pte"), ("PAT", bits.PAT_LARGE, "large"), ("NX", bits.NO_EXECUTE, "any"),
)  # fmt: skip


def bit_names(entry: EntryRef) -> str:
    """Return the flags of an entry that are set, in the manuals' letters."""
    value, is_last, leaf = entry.value, entry.form.is_last, entry.is_leaf
    counts = {"any": True, "leaf": leaf, "upper": not is_last, "pte": is_last, "large": leaf and not is_last}
    return " ".join(name for name, mask, where in NAMED_BITS if counts[where] and value & mask)
