"""What rules say of a CPU that stands, where no context asks them: in the modes of each, and in no other."""

from __future__ import annotations

from collections.abc import Iterable

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.mode import mode_of


def spoken(now: StoppedCpu, found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return those findings whose rules speak in the mode in which the CPU stands."""
    mode = mode_of(now.cpu)
    return tuple(one for one in found if BY_ID[one.rule].speaks_in(mode))
