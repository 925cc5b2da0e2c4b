"""Mends in words; neighbouring pages become one range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cr3scope.model.changes import Change, Edit, Mend, Page
from cr3scope.x86.names import entry_name, range_words

_MOST_CHANGES = 6  # changes that are told

_WORDS = {
    Change.CLEAR_NX: "clear NX (bit 63)",
    Change.SET_WRITABLE: "set R/W (bit 1)",
    Change.CLEAR_USER: "clear U/S (bit 2)",
    Change.SET_PRESENT: "set P (bit 0)",
}


def text(mends: Iterable[Mend]) -> str:
    """Return what to change, each change once: edits of entries as they are, pages run together; "" for none."""
    words = _words(mends)
    rest = len(words) - _MOST_CHANGES
    return ", ".join(words[:_MOST_CHANGES]) + (f" and {rest} more" if rest > 0 else "")


def _words(mends: Iterable[Mend]) -> list[str]:
    edits: dict[str, None] = {}
    pages: dict[Page, None] = {}
    as_now = goes_on = False
    for mend in mends:
        edits.update(dict.fromkeys(map(_edit, mend.edits)))
        if mend.no_ram is not None:
            edits[f"there is no RAM at {mend.no_ram:#x}, where the current tables lead: correct RSP"] = None
        if mend.page is not None:
            pages[mend.page] = None
            as_now = as_now or mend.as_now
        goes_on = goes_on or mend.goes_on
    words = [*edits, *_ranges(list(pages))]
    if as_now:
        words.append("as the current tables do")
    if goes_on:
        words[-1] += "; the same for the pages behind them"
    return words


def _edit(edit: Edit) -> str:
    what = _WORDS.get(edit.change) or f"clear the reserved bits {edit.entry.value & ~edit.value:#x}"
    return f"{what} of {entry_name(edit.entry)} (then {edit.value:#x})"


def _ranges(pages: Sequence[Page]) -> Iterator[str]:
    for run in runs(pages):
        yield f"map {range_words(run[0].virt, run[-1].virt + run[-1].size - 1)} to {run[0].frame:#x} ({run[0].rights})"


def runs(pages: Sequence[Page]) -> Iterator[Sequence[Page]]:
    """Yield the pages, those together that follow one another in both address spaces with equal rights."""
    begin = 0
    for end in range(1, len(pages) + 1):
        if end == len(pages) or not _follows(pages[end - 1], pages[end]):
            yield pages[begin:end]
            begin = end


def _follows(page: Page, other: Page) -> bool:
    return other == Page(page.virt + page.size, page.frame + page.size, page.rights, other.count)
