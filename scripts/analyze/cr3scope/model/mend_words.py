"""Mends in words; neighbouring pages become one range."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cr3scope.model.strike import Mend, Page
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.names import range_words


def mend_words(mends: Iterable[Mend]) -> list[str]:
    """Return what to change, each change once: edits of entries as they are, pages run together."""
    edits: dict[str, None] = {}
    pages: dict[Page, None] = {}
    as_now = goes_on = False
    for mend in mends:
        edits.update(dict.fromkeys(mend.edits))
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


def _ranges(pages: list[Page]) -> Iterator[str]:
    begin = 0
    for end in range(1, len(pages) + 1):
        if end == len(pages) or not _follows(pages[end - 1], pages[end]):
            first, last = pages[begin], pages[end - 1]
            virt = range_words(first.virt, last.virt + PAGE_BYTES - 1)
            yield f"map {virt} to {first.frame:#x} ({first.rights})"
            begin = end


def _follows(page: Page, other: Page) -> bool:
    return other == Page(page.virt + PAGE_BYTES, page.frame + PAGE_BYTES, page.rights)
