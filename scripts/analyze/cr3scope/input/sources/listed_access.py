"""An access judged by a listing: only what it tells for certain, the rest is unknown.

CR0.WP is taken as set, and SMEP, SMAP and protection keys as off: no listing tells of them.
"""

from __future__ import annotations

from enum import Enum

from cr3scope.dataclass import dataclass
from cr3scope.input.sources.listing import Listing
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE
from cr3scope.paging.walk import Reason, is_canonical
from cr3scope.x86.access import AccessKind
from cr3scope.x86.exceptions import PAGE_FAULT, PROTECTION

_NEEDS = {AccessKind.WRITE: RIGHT_WRITE, AccessKind.FETCH: RIGHT_EXECUTE}
_DENIALS = (
    (RIGHT_USER, "u", Reason.SUPERVISOR),
    (RIGHT_WRITE, "w", Reason.READ_ONLY),
    (RIGHT_EXECUTE, "x", Reason.NO_EXECUTE),
)
_LOST = "it is not listed, but parts of the listing are missing"


class Outcome(Enum):
    """What becomes of the access."""

    TRANSLATED = "translated"
    FAULT = "fault"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Listed:
    """The answer. ``row`` is None if the address is not listed; ``reason`` None if all is well."""

    listing: Listing
    virt: int
    row: int | None
    outcome: Outcome
    reason: str | None
    vector: int | None

    @property
    def rights(self) -> str:
        """Return the range's rights in the style of ``rwxu``."""
        return "----" if self.row is None else self.listing.rights(self.row)

    @property
    def phys(self) -> int | None:
        """Return where the address lies; None if the listing does not tell."""
        return None if self.row is None else self.listing.phys_at(self.row, self.virt)

    @property
    def page_bytes(self) -> int | None:
        """Return the size of the page; None if the listing does not tell."""
        level = None if self.row is None else self.listing.level(self.row)
        return self.listing.page_bytes[level] if level else None


def listed_access(listing: Listing, virt: int, kind: AccessKind, user: bool) -> Listed:
    """Return how one access to one byte goes, as far as the listing tells."""
    row = listing.row_of(virt)
    if row is None and listing.losses:
        return Listed(listing, virt, None, Outcome.UNKNOWN, _LOST, None)
    if row is None:
        reason, vector = _absence(listing, virt)
        return Listed(listing, virt, None, Outcome.FAULT, reason.value, vector)
    needed = int(_NEEDS.get(kind, 0)) | (int(RIGHT_USER) if user else 0)
    granted, tells = int(listing.rows.rights[row]), listing.form.tells
    unsure = []
    for bit, letter, denial in _DENIALS:
        if not needed & int(bit):
            continue
        if tells.rights & int(bit) and not granted & int(bit):
            return Listed(listing, virt, row, Outcome.FAULT, denial.value, PAGE_FAULT)
        if tells.is_bound:
            unsure.append(f"an entry above the leaf may deny {letter}")
        elif not tells.rights & int(bit):
            unsure.append(f"{listing.form.name} does not tell {letter}")
    if unsure:
        return Listed(listing, virt, row, Outcome.UNKNOWN, "; ".join(unsure), None)
    return Listed(listing, virt, row, Outcome.TRANSLATED, None, None)


def _absence(listing: Listing, virt: int) -> tuple[Reason, int | None]:
    """Between the two canonical ranges it depends on the levels which exception it is."""
    if is_canonical(virt, 4):
        return Reason.NOT_PRESENT, PAGE_FAULT
    if not is_canonical(virt, 5):
        return Reason.NON_CANONICAL, PROTECTION
    return Reason.NOT_PRESENT, PAGE_FAULT if listing.is_deep else None
