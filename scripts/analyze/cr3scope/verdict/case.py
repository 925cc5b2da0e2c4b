"""What is known of a boot when its verdict is made; whoever gathers evidence says it in these terms."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.model.prediction import Prediction
from cr3scope.verdict.types import BootOutcome, FaultWalk, Rehearsal

if TYPE_CHECKING:
    from cr3scope.verdict.picture import Picture


class Circumstance(Enum):
    """What bears on the status, beside findings, prediction and observation."""

    NEVER_RAN = "nobody let the guest run"
    GAVE_UP = "the guest said that it gives up"
    DAMAGED = "the capture is damaged"
    NOTHING_TO_JUDGE = "the capture holds nothing that a prediction could be made of"
    LOADER_REFUSED = "the loader's own walk foresaw a fault, and it did not switch"
    LOADER_FAILED = "the loader said that it failed, before the switch"
    ABSENT = "the source does not hold what the verdict wanted, or no instruction could be followed"
    DEADLY_INTERRUPT = "an interrupt that comes now cannot be delivered"
    UNFINISHED = "the capture ends before the kernel had its say"
    STOPPED_BY_IT = "the machine stopped, and the findings say why"
    CHECK_FAILED = "the kernel's own checks failed"
    ENDED_WITH_FAILURE = "the guest ended itself with failure, or by a reset"
    CUT_SHORT = "whoever watched was interrupted, or QEMU was"
    UNSAID = "the guest never said what it was expected to"
    TOLD_NOTHING = "the log tells nothing"
    LEFT_OUT = "something was not looked at, past a budget"
    OTHER_BOOT = "another boot of the capture is not healthy, or was not judged"
    MAY_HAVE_DIED = "the last words of the guest may say that it gives up"
    ROUTINE = "the log ends in an exception, and others of the same kind were handled before"


@dataclass(frozen=True, slots=True)
class Case:
    """The evidence, as far as there is any, and what was found in it; findings in the order in which they strike.

    ``mended``: how it goes with all of them mended, where code could be followed so far.
    """

    findings: tuple[Finding, ...] = ()
    prediction: Prediction | None = None
    observation: Observation | None = None
    agreement: bool | None = None
    walk: FaultWalk | None = None
    mended: Prediction | None = None
    circumstances: frozenset[Circumstance] = frozenset()
    diagnostics: tuple[Diagnostic, ...] = ()
    boots: tuple[BootOutcome, ...] = ()  # of the capture, those that were judged
    picture: Picture | None = field(default=None, compare=False, repr=False)
    rehearsal: Rehearsal | None = None

    @property
    def has_error(self) -> bool:
        """Return whether something is wrong, not merely worth knowing."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)
