"""What an address meets in the new tables: many rules ask the same of each strike."""

from __future__ import annotations

from cr3scope.diagnose.rule import Context
from cr3scope.paging.walk import Walk, walk


def met_by(context: Context, virt: int) -> Walk:
    """Return the walk of an address through the new tables, which is made once; for rules that need the switch."""
    assert context.switch is not None
    walks, key = context.switch.walks, (virt, context.platform)
    if key not in walks:
        walks[key] = walk(context.tables, context.cpu, virt, context.platform)
    return walks[key]
