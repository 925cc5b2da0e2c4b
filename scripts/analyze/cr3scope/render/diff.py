"""How two address spaces differ: as text, and as the contract ``cr3scope.diff/1``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.paging import entry as bits
from cr3scope.paging.compare import Difference
from cr3scope.paging.effective import Mappings
from cr3scope.render.maps import SIZE_NAMES, size_text

SCHEMA = "cr3scope.diff/1"


def as_dict(
    found: Sequence[Difference], left: Mappings, right: Mappings, warnings: Sequence[str]
) -> dict[str, object]:
    """The plain values of the JSON document; a side that maps nothing there is null."""
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
    found: Sequence[Difference], left: Mappings, right: Mappings, names: tuple[str, str]
) -> Iterator[str]:
    """The answer first; `-` is the left source, `+` the right one."""
    if not found:
        yield "the two map the same, with the same rights and memory types"
        return
    total = sum(one.last - one.first + 1 for one in found)
    count = f"{len(found)} range" + ("s differ" if len(found) != 1 else " differs")
    yield f"{count}, {size_text(total)}"
    yield f"- {names[0]}"
    yield f"+ {names[1]}"
    for one in found:
        yield f"\n{one.first:016x}..{one.last:016x}  {size_text(one.last - one.first + 1)}"
        yield f"  - {_words(left, one.left_row, one.first)}"
        yield f"  + {_words(right, one.right_row, one.first)}"


def _mapping(side: Mappings, row: int | None, virt: int) -> dict[str, object] | None:
    if row is None:
        return None
    return {
        "phys": f"{_phys(side, row, virt):#x}",
        "rights": side.rights(row),
        "size": bits.level_bytes(int(side.levels[row])),
        "level": int(side.levels[row]),
        "memory_type": side.memory_type(row),
    }


def _words(side: Mappings, row: int | None, virt: int) -> str:
    if row is None:
        return "not mapped"
    size = SIZE_NAMES[int(side.levels[row])]
    phys = _phys(side, row, virt)
    return f"{phys:013x}  {side.rights(row)}  {size}  {side.memory_type(row)}"


def _phys(side: Mappings, row: int, virt: int) -> int:
    return int(side.phys[row]) + virt - int(side.first[row])
