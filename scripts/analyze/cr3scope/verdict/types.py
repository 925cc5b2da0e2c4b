"""The result of an analysis: findings, prediction, observation, verdict.

These types are what every rule yields and every renderer reads; their JSON form is the contract
``cr3scope.verdict/1`` (fields are added, never renamed). Addresses are plain integers here and hex
strings in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.images.source_text import SourceText
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.model.prediction import Prediction
from cr3scope.x86.access import EntryRef

if TYPE_CHECKING:
    from cr3scope.input.capture.records import RefusedRegister
    from cr3scope.model.rehearsed import RehearsedStep
    from cr3scope.verdict.picture import Picture


class Status(Enum):
    """The one-word answer of a run."""

    HEALTHY = "healthy"
    WILL_FAULT = "will-fault"
    FAULTED = "faulted"
    HUNG = "hung"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class WalkLevel:
    """An entry on the way of a walk. ``source`` is ``file:line`` of the code that made it."""

    entry: EntryRef
    is_guilty: bool
    source: str | None = None


@dataclass(frozen=True, slots=True)
class FaultWalk:
    """The address of a page fault in tables that somebody holds, from the top. ``refused`` is None if
    these tables let the access through: then they are not what the CPU used.

    ``is_printed``: nobody holds tables, but the guest's own kernel printed the entries, without their addresses, and
    perhaps not all of them. ``remark``: what is uncertain, in words.
    """

    virt: int
    cr3: int | None
    access: str  # "supervisor fetch"
    refused: str | None
    dump: str  # id of the capture's dump; "" of tables in memory
    levels: tuple[WalkLevel, ...]
    is_printed: bool = False
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Branch:
    """A CPU went from the instruction at ``source`` on at ``target``; the code there ran ``times`` in a row. ``places``: of both,
    as ``file:line``, ``function+0xOFFSET``, ``IMAGE+0xOFFSET`` or an address.
    """

    source: int
    target: int
    times: int
    places: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Shaping:
    """An instruction at ``rip`` that changed ``what`` shapes the switch: "CR3", "GDTR", "far jump", .."""

    what: str
    rip: int
    place: str


@dataclass(frozen=True, slots=True)
class BootOutcome:
    """What one boot of a capture came to. ``number`` counts from 1; ``rule``: of its first finding; ``words``: the same,
    as its line says it.
    """

    number: int
    status: Status
    rule: str | None
    words: str


class RehearsalEnd(Enum):
    """How far a rehearsal came."""

    WHOLE = "whole"  # it told of every step that it could try
    REFUSED = "refused"  # none was made, or no more of it, for a reason
    BROKEN = "broken"  # it began, and nobody tells that it ended


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What the CPU itself did with the plan's steps under the new root, before the switch.

    ``why``: the writer's reason of one that was refused; ``refused``: the planned register that the CPU itself refused, if
    that was it. ``agreement``: whether the model says the same of all that were tried; None if none was.
    """

    end: RehearsalEnd
    why: str
    steps: tuple[RehearsedStep, ...]
    refused: RefusedRegister | None = None

    @property
    def agreement(self) -> bool | None:
        """Return whether model and CPU say the same of all steps that were tried; None if none was."""
        said = [step.agrees for step in self.steps if step.agrees is not None]
        return all(said) if said else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything one run of the analyzer has to say, findings in the order in which they strike."""

    status: Status
    findings: tuple[Finding, ...] = ()
    prediction: Prediction | None = None
    observation: Observation | None = None
    agreement: bool | None = None
    diagnostics: tuple[Diagnostic, ...] = field(default=())
    source_texts: Mapping[str, SourceText] = field(default_factory=dict)  # of lines, by ``file:line``
    walk: FaultWalk | None = None  # of the CR2 of the page fault that was seen, else of the one that is foreseen
    mended: Prediction | None = None  # how it goes with all findings mended, as far as code can be followed
    boots: tuple[BootOutcome, ...] = ()  # of a capture, those that were judged
    path: tuple[Branch, ...] = ()  # the last branches up to the death, where the plugin has kept them
    shaped: tuple[Shaping, ...] = ()  # what shaped the switch, in order, up to the death
    picture: Picture | None = field(default=None, compare=False, repr=False)  # of the boot that decides; None of a log alone
    rehearsal: Rehearsal | None = None  # of the boot that decides; None if its trace tells of none

    @property
    def exit_status(self) -> int:
        """Return 0 if healthy, 1 for an error or a guest that faulted or hung, 2 for input that cannot be used.
        """
        if any(f.severity is Severity.ERROR for f in self.findings):
            return 1
        return {Status.HEALTHY: 0, Status.INCOMPLETE: 2}.get(self.status, 1)


@dataclass(frozen=True, slots=True)
class Unsaid:
    """A pattern that was to be said, and was not; ``option``: that of `run` which asked for it."""

    option: str
    pattern: str
