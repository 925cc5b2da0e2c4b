"""How two address spaces differ: as text, and as the contract ``cr3scope.diff/1``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.input.sources.listing import Listing, rights_text
from cr3scope.paging.compare import Difference, Tells
from cr3scope.paging.effective import Mappings
from cr3scope.render.sizes import page_name, size_text
from cr3scope.render.table import Block, Cell, lines_of

SCHEMA = "cr3scope.diff/1"


def as_dict(
    found: Sequence[Difference],
    left: Mappings | Listing,
    right: Mappings | Listing,
    warnings: Sequence[str],
) -> dict[str, object]:
    """Return the plain values of the JSON document; a side that maps nothing there is null."""
    return {
        "schema": SCHEMA,
        "equal": not found,
        "differences": [
            {
                "first": f"{one.first:#x}",
                "last": f"{one.last:#x}",
                "left": _mapping(left, one.left_row, one.first),
                "right": _mapping(right, one.right_row, one.first),
            }
            for one in found
        ],
        "warnings": list(warnings),
    }


def as_text(
    found: Sequence[Difference],
    left: Mappings | Listing,
    right: Mappings | Listing,
    names: tuple[str, str],
) -> Iterator[str]:
    """Yield :func:`as_blocks` as lines."""
    return lines_of(as_blocks(found, left, right, names))


def as_blocks(
    found: Sequence[Difference],
    left: Mappings | Listing,
    right: Mappings | Listing,
    names: tuple[str, str],
) -> Iterator[Block]:
    """Yield the answer first, then the differences; `-` is the left source, `+` the right one."""
    if not found:
        if isinstance(left, Listing) or isinstance(right, Listing):
            yield "the two map the same, as far as both tell"
        else:
            yield "the two map the same, with the same rights and memory types"
        return
    total = sum(one.last - one.first + 1 for one in found)
    count = f"{len(found)} range" + ("s differ" if len(found) != 1 else " differs")
    yield f"{count}, {size_text(total)}"
    yield Cell(f"- {names[0]}", "removed")
    yield Cell(f"+ {names[1]}", "added")
    for one in found:
        yield f"\n{one.first:016x}..{one.last:016x}  {size_text(one.last - one.first + 1)}"
        yield Cell(f"  - {_words(left, one.left_row, one.first)}", "removed")
        yield Cell(f"  + {_words(right, one.right_row, one.first)}", "added")


def left_out(left: Tells, right: Tells) -> Iterator[str]:
    """Yield what is not compared since one of the two does not tell it, in one line."""
    common = rights_text(left, left.rights & right.rights)
    missing = [letter for letter in "wxu" if letter not in common]
    parts = [f"right {letter}" for letter in missing]
    if not (left.frames and right.frames):
        parts.append("frames")
    if not (left.types and right.types):
        bits_told = left.cache_bits & right.cache_bits
        parts.append("memory types" + (" but for PCD and PWT" if bits_told else ""))
    if left.is_bound != right.is_bound:
        parts.append("rights that the leaf grants and an entry above it may deny")
    if parts:
        yield f"not compared, since not both tell: {', '.join(parts)}"


def _mapping(side: Mappings | Listing, row: int | None, virt: int) -> dict[str, object] | None:
    if row is None:
        return None
    phys, level = _phys(side, row, virt), _level(side, row)
    told: dict[str, object] = {
        "phys": None if phys is None else f"{phys:#x}",
        "rights": side.rights(row),
        "size": None if level is None else side.page_bytes[level],
        "level": level,
    }
    if isinstance(side, Listing):
        return {**told, "memory_type": None, "cache_bits": side.cache_bits(row)}
    return {**told, "memory_type": side.memory_type(row)}


def _words(side: Mappings | Listing, row: int | None, virt: int) -> str:
    if row is None:
        return "not mapped"
    phys, level = _phys(side, row, virt), _level(side, row)
    where = f"{'-':<13}" if phys is None else f"{phys:013x}"
    if isinstance(side, Listing):
        rights = f"at most {side.rights(row)}" if side.form.tells.is_bound else side.rights(row)
        cache = side.cache_bits(row) or "?"
    else:
        rights, cache = side.rights(row), side.memory_type(row)
    return f"{where}  {rights}  {page_name(side.page_bytes[level or 0])}  {cache}"


def _phys(side: Mappings | Listing, row: int, virt: int) -> int | None:
    if isinstance(side, Listing):
        return side.phys_at(row, virt)
    return int(side.phys[row]) + virt - int(side.first[row])


def _level(side: Mappings | Listing, row: int) -> int | None:
    return side.level(row)
