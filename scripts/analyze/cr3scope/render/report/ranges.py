"""What a space maps, in as few pieces as a picture can hold: neighbours are drawn together, the widest gaps apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from cr3scope.arrays import integers
from cr3scope.dataclass import dataclass
from cr3scope.model.range_names import RangeNames, range_names
from cr3scope.paging.compare import differences
from cr3scope.paging.effective import Mappings, mappings
from cr3scope.paging.tables import Tables
from cr3scope.text import printable
from cr3scope.verdict.picture import Picture, Space

_MOST_PIECES = 40  # of one column
_MOST_NAMES = 3  # of one piece
_MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a space maps, whole (``found``), and as it is drawn."""

    found: Mappings
    pieces: list[dict[str, object]]


def drawn(picture: Picture, space: Space) -> Drawn:
    """Return the ranges of a space, those together that lie next to one another where there are too many."""
    found = mappings(space.tables, space.cpu, picture.platform)
    return Drawn(found, _pieces(found, picture, space is not picture.before, space is picture.judged))


def mended(picture: Picture, tables: Tables, unmended: Drawn) -> Drawn:
    """Return the ranges of the judged space by tables that mends have changed; a piece has ``mended`` where it holds an
    address that is not mapped as in ``unmended``."""
    found = mappings(tables, picture.judged.cpu, picture.platform)
    pieces = _pieces(found, picture, True, True)
    changed = differences(unmended.found, found)
    for piece, (begin, end) in zip(pieces, pairwise(_bounds(found)), strict=True):
        first, last = int(found.first[begin]), int(found.last[end - 1])
        piece["mended"] = any(one.right_row is not None and one.first <= last and first <= one.last for one in changed)
    return Drawn(found, pieces)


def _pieces(found: Mappings, picture: Picture, is_behind: bool, is_judged: bool) -> list[dict[str, object]]:
    names = range_names(found, picture.intent, is_behind) if picture.intent else None
    asks = picture.intent is not None and bool(picture.intent.maps) and is_judged
    return [_piece(found, names, begin, end, asks) for begin, end in pairwise(_bounds(found))]


def _bounds(found: Mappings) -> list[int]:
    """Where pieces begin, and the end of the last one."""
    count = len(found)
    if count <= _MOST_PIECES:
        return list(range(count + 1))
    gap = found.first[1:] - found.last[:-1]
    # Between equal gaps, those where the rights change.
    weight = gap.astype(np.float64) + (found.attributes[1:] != found.attributes[:-1]) * 0.5
    chosen = np.argpartition(weight, -(_MOST_PIECES - 1))[-(_MOST_PIECES - 1) :]
    return [0, *sorted(each + 1 for each in integers(chosen)), count]


def _piece(found: Mappings, names: RangeNames | None, begin: int, end: int, asks: bool) -> dict[str, object]:
    rows = slice(begin, end)
    size = found.last[rows] - found.first[rows]
    kinds = np.unique(found.attributes[rows])
    rights = {found.kind(begin + int(np.flatnonzero(found.attributes[rows] == kind)[0])).rights for kind in kinds[:16]}
    name = _name(names, begin, end)
    return {
        "first": f"{int(found.first[begin]):#x}",
        "last": f"{int(found.last[end - 1]):#x}",
        "phys": f"{int(found.phys[rows].min()):#x}",
        "end": f"{int((found.phys[rows] + size).max()):#x}",
        "count": end - begin,
        "rights": rights.pop() if len(rights) == 1 else _MIXED,
        "name": name,
        "unasked": asks and not name,
    }


def _name(names: RangeNames | None, begin: int, end: int) -> str:
    if names is None:
        return ""
    met = [number for number in integers(np.unique(names.of_row[begin:end])) if number >= 0]
    told = dict.fromkeys(piece.name for number in met for piece in names.names[number].pieces)
    shown = list(told)[:_MOST_NAMES]
    more = f" and {len(told) - len(shown)} more" if len(told) > len(shown) else ""
    return printable(", ".join(shown) + more)
