"""The recursive slot that was promised, and the window of addresses behind a slot."""

from __future__ import annotations

from cr3scope.model.intent import Intent
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import ADDRESS_MASK, level_bytes, level_index, level_shift
from cr3scope.x86.word import MASK64


def promised_slots(intent: Intent, cpu: CpuState) -> list[int]:
    """Return the slots that a range of role `recursive` names; else the one that was first written so."""
    named = [
        level_index(named.virt, cpu.levels)
        for named in (*intent.maps, *intent.regions)
        if named.role == "recursive"
    ]
    written = [
        record.index
        for record in intent.boot.sets
        if record.level == cpu.levels and record.new & ADDRESS_MASK == cpu.root
    ]
    return named or written[:1]


def window_of(slot: int, levels: int) -> tuple[int, int]:
    """Return the first and last address that an entry of the top table translates."""
    span = level_bytes(levels)
    sign = 1 << (level_shift(levels) + 8)
    first = ((slot * span ^ sign) - sign) & MASK64
    return first, first + span - 1
