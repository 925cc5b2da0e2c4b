"""What the files of a guest showed before it was booted, beside what the boot has shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.verdict.case import Case
from cr3scope.x86.ending import Ending

# Of a kernel that QEMU itself has entered these explain whatever came of it.
_OF_THE_ENTRY = frozenset({"wrong-entry", "entry-in-long-mode"})


@dataclass(frozen=True, slots=True)
class FileFinding:
    """``is_booted``: QEMU itself loads the file and enters it (-kernel); else some loader may."""

    finding: Finding
    is_booted: bool = False


def with_linted(case: Case, found: Sequence[FileFinding], rip: int | None) -> Case:
    """Return the case with what was found in files: as its cause if the guest died of it, else as warnings behind all else.

    ``rip``: where the guest stands at the end; None if nobody knows.
    """
    told = {one.rule for one in case.findings}
    new = [one for one in found if one.finding.rule not in told and one.finding.severity is not Severity.NOTE]
    causes = [one.finding for one in new if _died_of(case, one, rip)]
    others = [replace(one.finding, severity=Severity.WARNING) for one in new if one.finding not in causes]
    return replace(case, findings=(*causes, *case.findings, *others), mended=None if causes else case.mended)


def _died_of(case: Case, one: FileFinding, rip: int | None) -> bool:
    """Whether an error of the file is why the guest ended: it stood in that code, or could only come from it."""
    seen, finding = case.observation, one.finding
    if finding.severity is not Severity.ERROR or seen is None or seen.ending in (None, Ending.PARKED, Ending.HANDLED):
        return False
    if one.is_booted and finding.rule in _OF_THE_ENTRY:
        return True
    record = seen.events[0].record.fault if seen.events else seen.first
    at = rip if seen.ending is Ending.HANG or record is None else record.rip
    return finding.range is not None and at is not None and finding.range[0] <= at <= finding.range[1]
