"""Recognises the text of a listing and reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from cr3scope.arrays import Data
from cr3scope.errors import UnusableInput
from cr3scope.input.sources import info_mem, info_pg, info_tlb, ptdump
from cr3scope.input.sources.listing import Form, Listing
from cr3scope.input.sources.listing_text import Grammar, normalised

# A listing may stand behind the chatter of a boot.
_LOOK_BYTES = 16 << 20
_NO_PAGING = re.compile(rb"^PG disabled\r?$", re.MULTILINE)


class _Reader(NamedTuple):
    form: Form
    grammar: Grammar
    read: Callable[[Data, str], Listing]


_READERS = (
    _Reader(info_tlb.FORM, info_tlb.GRAMMAR, info_tlb.read_info_tlb),
    _Reader(info_tlb.FORM, info_tlb.SHORT, info_tlb.read_short_info_tlb),
    _Reader(info_mem.FORM, info_mem.GRAMMAR, info_mem.read_info_mem),
    _Reader(info_mem.SHORT_FORM, info_mem.SHORT, info_mem.read_short_info_mem),
    _Reader(info_pg.FORM, info_pg.GRAMMAR, info_pg.read_info_pg),
    _Reader(ptdump.FORM, ptdump.GRAMMAR, ptdump.read_ptdump),
    _Reader(ptdump.SHORT_FORM, ptdump.SHORT, ptdump.read_short_ptdump),
)


def open_listing(data: Data, path: str) -> Listing | None:
    """Return the listing whose lines come first; None if there is none, UnusableInput if it is no use."""
    text = normalised(data)
    head = text[:_LOOK_BYTES]
    places = [(found.start(), reader) for reader in _READERS
              if (found := reader.grammar.line.search(head))]  # fmt: skip
    if places:
        _, first = min(places, key=lambda place: place[0])
        listing = first.read(text, path)
        others = [reader.form.name for _, reader in places if reader is not first]
        return listing.with_notes(f"the text also holds {name}: left out" for name in others)
    if _NO_PAGING.search(head):
        raise UnusableInput(f"{path}: the monitor says that paging was off: nothing is mapped")
    return None
