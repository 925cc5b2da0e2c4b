"""Table pages packed for the page: differences of neighbouring entries, byte planes apart, deflated.

Entries of one table mostly differ by the size of a page, and their high bytes are alike: apart, both deflate to nearly
nothing. The page unpacks them with the browser's own DecompressionStream (`page/tables.js`).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping

import numpy as np

from cr3scope.arrays import U64
from cr3scope.paging.tables import Entries
from cr3scope.x86.entry import ENTRIES

_FAST, _SMALL = 1, 6
_LARGE = 512  # tables: of more, the time counts and not the last bytes


def packed(tables: Mapping[int, Entries]) -> str:
    """Return the tables in base64: how many, their physical addresses, then the entries of each."""
    places = np.array(sorted(tables), dtype=np.uint64)
    pages: U64 = np.zeros((len(places), ENTRIES), dtype=np.uint64)
    for row, phys in enumerate(sorted(tables)):
        page = tables[phys]
        pages[row, : len(page)] = page
    words = np.concatenate([np.array([len(places)], dtype=np.uint64), places, pages.reshape(-1)])
    words[1:] -= words[:-1].copy()
    planes = words.astype("<u8").view(np.uint8).reshape(-1, 8).T.tobytes()
    level = _FAST if len(places) > _LARGE else _SMALL
    deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(deflate.compress(planes) + deflate.flush()).decode("ascii")
