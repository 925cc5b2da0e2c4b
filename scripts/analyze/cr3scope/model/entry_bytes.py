"""What the first bytes of a kernel do, where they tell at a glance: zeros, and no memory at all."""

from __future__ import annotations

from collections.abc import Sequence

from cr3scope.input.capture.records import Boot, PlanStep
from cr3scope.message import Message
from cr3scope.model.sled import Stop, slide
from cr3scope.paging.tables import Tables
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.platform import Platform


def stop_at_entry(
    boot: Boot, tables: Tables, cpu: CpuState, plan: Sequence[PlanStep], platform: Platform
) -> Stop | None:
    """Return where a kernel stops whose first bytes are no code; None if they may be.

    ``plan``: the steps that go through.
    """
    entry = boot.memories.get(("entry", "handoff"))
    if entry is None or not entry.data:
        return None
    step = next((s for s in plan if s.kind is AccessKind.FETCH and s.virt == entry.virt), None)
    if step is None:
        return None
    if not any(entry.data):
        return slide(boot, tables, cpu, entry, step, platform)
    if entry.data == b"\xff" * len(entry.data):
        # FF /7 is no instruction (SDM volume 2D, table A-6, group 5).
        fault = Fault(exceptions.UNDEFINED, None, None, entry.virt, cpu.cr3)
        return Stop(step, fault, Message("the bytes at the entry read FFh: no memory answers, no code"))
    return None
