"""The walk of a page fault's address: one line for each level, the entry that refused it marked."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.render.terminal import paint
from cr3scope.render.walk import bit_names
from cr3scope.text import printable
from cr3scope.verdict.types import FaultWalk, WalkLevel
from cr3scope.x86.entry import entry_name


_LET_THROUGH = "let through: the CPU used other tables, or a stale translation"
_LET_THROUGH_NOW = "let through now: they were changed since, or a stale translation was used"


def as_text(walk: FaultWalk, colour: bool) -> Iterator[str]:
    """Yield a heading, then the levels from the top."""
    yield ""
    yield f"  {paint('walk', 'label', colour)}  {heading(walk)}"
    for level in walk.levels:
        yield _level(level, walk.is_printed)
    if walk.remark:
        yield f"        {printable(walk.remark)}"


def heading(walk: FaultWalk) -> str:
    """Return the address, where it was walked, and what came of it."""
    where = "" if walk.cr3 is None else f", CR3={walk.cr3:#x}"
    return f"{walk.virt:#x} {_source(walk)}{where}: {walk.access} {_outcome(walk)}"


def level_words(level: WalkLevel, is_printed: bool) -> str:
    """Return the entry of a level, with its flags; where it was printed, without its place."""
    entry = level.entry
    at = "" if is_printed else f"{entry.phys:#x} = "
    return f"{entry_name(entry.level, entry.index):<9}  {at}{entry.value:#018x}  {bit_names(entry):<16}"


def _source(walk: FaultWalk) -> str:
    if walk.is_printed:
        return "as it was printed"
    return f"in dump `{printable(walk.dump)}`" if walk.dump else "in memory"


def _outcome(walk: FaultWalk) -> str:
    if walk.refused:
        return f"refused: {walk.refused}"
    if walk.is_printed:
        return "not refused by what is shown"
    return _LET_THROUGH if walk.dump else _LET_THROUGH_NOW


def _level(level: WalkLevel, is_printed: bool) -> str:
    mark = "<- here" if level.is_guilty else ""
    by = printable(level.source) if level.source else ""
    return f"        {level_words(level, is_printed)}  {mark:<7}  {by}".rstrip()
