"""What a trace tells of a switch before which the machine stands: the engine of `analyze`, asked there."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.dataclass import dataclass
from cr3scope.images.symbols import LineSource
from cr3scope.input.capture.records import Boot, Capture
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.traced import as_it_stands, plans_this_switch
from cr3scope.verdict.analysis import case_of_capture, chosen_boot
from cr3scope.verdict.case import Case


@dataclass(frozen=True, slots=True)
class Trace:
    """The capture of the boot that stands, and where its lines are found."""

    capture: Capture
    lines: LineSource

    def is_of(self, now: StoppedCpu) -> bool:
        """Return whether the trace plans the `mov cr3` at the PC."""
        return self._boot(now) is not None

    def case(self, now: StoppedCpu) -> Case | None:
        """Return what `analyze` says of the boot, with the memory as it is; None if it plans another switch, or none."""
        boot = self._boot(now)
        if boot is None:
            return None
        standing = replace(self.capture, boots=[as_it_stands(boot, now)])
        return case_of_capture(standing, lines=self.lines, standing=now.platform)

    def _boot(self, now: StoppedCpu) -> Boot | None:
        boot = chosen_boot(self.capture)
        return boot if boot is not None and plans_this_switch(boot, now) else None
