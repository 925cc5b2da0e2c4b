"""How the ranges of a listing read: as text, and as the contract ``cr3scope.maps/1``.

What the listing does not tell is null in JSON, ``?`` among the rights and ``-`` elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from cr3scope.arrays import U64, integers
from cr3scope.input.sources.listing import Listing, cache_text, rights_text
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE
from cr3scope.render.columns import (
    PHYS_DIGITS,
    Cells,
    blocks,
    choices,
    hex_digits,
    lines,
    quoted_hex,
)
from cr3scope.render.maps import SCHEMA
from cr3scope.render.sizes import page_name, size_text

if TYPE_CHECKING:
    import numpy.typing as npt

_LEVEL_AT, _CACHE_AT = 3, 6
_RIGHTS = int(RIGHT_WRITE | RIGHT_EXECUTE | RIGHT_USER)


def json_text(found: Listing) -> Iterator[str]:
    """Yield the JSON document in pieces, a line for each range. ``tells`` says how to read the rights."""
    rows, tells = found.rows, found.form.tells
    yield f'{{"schema": {json.dumps(SCHEMA)}, "tells": {json.dumps(tells_of(found))},'
    yield ' "mappings": [\n'
    ends, codes = _by_code(found, lambda code: f", {json.dumps(_row_of(found, code))[1:]}")
    for block in blocks(len(found)):
        phys: Cells | str = quoted_hex(rows.phys[block]) if tells.frames else "null"
        cells = (
            '{"first": ', quoted_hex(rows.first[block]),
            ', "last": ', quoted_hex(rows.last[block]),
            ', "phys": ', phys, ends[codes[block]], ",\n",
        )  # fmt: skip
        text = lines(cells, block.stop - block.start)
        yield text if block.stop < len(found) else text[: -len(",\n")] + "\n"
    yield f'], "warnings": {json.dumps(list(found.warnings))}}}\n'


def tells_of(found: Listing) -> dict[str, object]:
    """Return what the listing tells: ``rights`` are effective, or at most what is shown."""
    form, tells = found.form, found.form.tells
    return {
        "source": found.description,
        "rights": "at most" if tells.is_bound else "effective",
        "letters": rights_text(tells, _RIGHTS).replace("?", ""),
        "phys": tells.frames,
        "size": form.levels,
        "memory_type": False,
    }


def as_text(found: Listing) -> Iterator[str]:
    """Yield totals, what was looked at, then a line for each range."""
    rows, tells = found.rows, found.form.tells
    yield _summary(found)
    yield found.description
    if not len(found):
        return
    yield ""
    heading = "at most" if tells.is_bound else "rights"
    yield f"{'first':<16}  {'last':<16}  {'phys':<13}  {heading:<7}  {'cache':<7}  page"
    ends, codes = _by_code(found, lambda code: _words(found, code))
    no_phys = "-".ljust(PHYS_DIGITS)
    for block in blocks(len(found)):
        phys: Cells | str = no_phys
        if tells.frames:
            phys = hex_digits(rows.phys[block])[:, -PHYS_DIGITS:]
        cells = (
            hex_digits(rows.first[block]), "  ", hex_digits(rows.last[block]), "  ", phys,
            ends[codes[block]], "\n",
        )  # fmt: skip
        yield lines(cells, block.stop - block.start)[:-1]


def _summary(found: Listing) -> str:
    """How much is mapped, and how much of it is open to what the listing tells of."""
    rows, tells = found.rows, found.form.tells
    sizes = rows.last - rows.first + np.uint64(1)

    def total(rights: np.uint64) -> str:
        return size_text(sum(integers(sizes[rows.rights & rights == rights])))

    count = f"{len(found)} range" + ("s" if len(found) != 1 else "")
    most = "at most " if tells.is_bound else ""
    words = f"{count}, {total(np.uint64(0))} mapped; {most}{total(RIGHT_WRITE)} writable"
    if tells.rights & int(RIGHT_EXECUTE):
        words += f", {total(RIGHT_WRITE | RIGHT_EXECUTE)} of that executable"
    return f"{words}, {total(RIGHT_USER)} open to user mode"


def _by_code(
    found: Listing, words: Callable[[int], str]
) -> tuple[Cells, npt.NDArray[np.intp]]:
    """The words of each kind of row, and for each row which of them are its own."""
    rows = found.rows
    code: U64 = rows.rights | rows.levels << np.uint64(_LEVEL_AT)
    code |= rows.cache << np.uint64(_CACHE_AT)
    kinds, which = np.unique(code, return_inverse=True)
    return choices([words(kind) for kind in integers(kinds)] or [""]), which


def _row_of(found: Listing, code: int) -> dict[str, object]:
    level = code >> _LEVEL_AT & 7
    return {
        "size": found.page_bytes[level] or None,
        "rights": rights_text(found.form.tells, code),
        "level": level or None,
        "memory_type": None,
        "name": None,
        "cache_bits": cache_text(code >> _CACHE_AT) if found.form.tells.cache_bits else None,
    }


def _words(found: Listing, code: int) -> str:
    tells = found.form.tells
    cache = cache_text(code >> _CACHE_AT) if tells.cache_bits else "?"
    page = page_name(found.page_bytes[code >> _LEVEL_AT & 7])
    return f"  {rights_text(tells, code):<7}  {cache:<7}  {page}"
