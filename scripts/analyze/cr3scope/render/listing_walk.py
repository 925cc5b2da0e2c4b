"""How an access to a listed address reads: as text, and as the contract ``cr3scope.walk/1``.

There are no entries to show, and no error code: that depends on where the walk stops.
"""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.input.sources.listed_access import Listed, Outcome
from cr3scope.render.sizes import size_text
from cr3scope.render.walk import SCHEMA

_UNTOLD = "its entries, and so the error code, are not in a listing"


def as_dict(found: Listed) -> dict[str, object]:
    """Return the plain values of the JSON document; ``outcome`` may be "unknown" too."""
    phys = found.phys if found.outcome is Outcome.TRANSLATED else None
    return {
        "schema": SCHEMA,
        "outcome": found.outcome.value,
        "virt": f"{found.virt:#x}",
        "phys": None if phys is None else f"{phys:#x}",
        "page_size": found.page_bytes,
        "rights": found.rights,
        "rights_are": "at most" if found.listing.form.tells.is_bound else "effective",
        "vector": found.vector,
        "error_code": None,
        "cr2": f"{found.virt:#x}" if found.vector == 14 else None,
        "reason": found.reason,
        "guilty": [],
        "levels": [],
        "warnings": list(found.listing.warnings),
    }


def as_text(found: Listed, access: str) -> Iterator[str]:
    """Yield the answer first, then the range."""
    yield _answer(found, access)
    if found.row is None:
        return
    rows = found.listing.rows
    first, last = int(rows.first[found.row]), int(rows.last[found.row])
    yield ""
    yield f"listed in {first:#x}..{last:#x}; {_UNTOLD}"


def _answer(found: Listed, access: str) -> str:
    if found.outcome is Outcome.FAULT:
        exception = {14: "#PF", 13: "#GP"}.get(found.vector or 0, "#PF or #GP")
        return f"{found.virt:#x}: {access} faults: {exception}: {found.reason}"
    if found.row is None:
        return f"{found.virt:#x}: whether {access} succeeds is not told: {found.reason}"
    where = "a frame that is not told" if found.phys is None else f"{found.phys:#x}"
    page = f"{size_text(found.page_bytes)} page" if found.page_bytes else "page of unknown size"
    head = f"{found.virt:#x} -> {where}, {page}, {found.rights}"
    if found.outcome is Outcome.UNKNOWN:
        return f"{head}: whether {access} succeeds is not told: {found.reason}"
    return f"{head}: {access} succeeds"
