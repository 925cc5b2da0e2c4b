"""The result of an analysis: findings, prediction, observation, verdict.

These types are what every rule yields and every renderer reads; their JSON form is the contract
``cr3scope.verdict/1`` (fields are added, never renamed). Addresses are plain integers here and hex
strings in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Severity(Enum):
    """How bad a finding is: ``ERROR`` faults or corrupts, ``WARNING`` bites elsewhere or later."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Status(Enum):
    """The one-word answer of a run."""

    HEALTHY = "healthy"
    WILL_FAULT = "will-fault"
    FAULTED = "faulted"
    HUNG = "hung"
    INCOMPLETE = "incomplete"


class Ending(Enum):
    """How a chain of exceptions ends."""

    TRIPLE_FAULT = "triple-fault"
    STORM = "storm"
    HANG = "hang"
    HANDLED = "handled"


@dataclass(frozen=True, slots=True)
class EntryRef:
    """One page-table entry: ``phys`` is the entry's own address (table + 8 * index)."""

    level: int
    index: int
    phys: int
    value: int


@dataclass(frozen=True, slots=True)
class Fault:
    """One exception as the CPU raises it. ``cr2`` and ``rip`` are None where not known.

    ``rsp`` is that before the CPU pushed anything, ``offset`` the record's place in the log: they tell
    no two faults apart.
    """

    vector: int
    error_code: int | None
    cr2: int | None
    rip: int | None
    cr3: int | None = None
    rsp: int | None = field(default=None, compare=False)
    offset: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong (or worth knowing), with its proof and its mend.

    ``range`` is inclusive. ``source`` is ``file:line`` of the code that made the entry.
    """

    rule: str
    severity: Severity
    title: str
    detail: str
    fix: str
    entry: EntryRef | None = None
    range: tuple[int, int] | None = None
    source: str | None = None
    step: int | None = None  # the plan step that strikes it, for the order of findings


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says the CPU will do. ``first`` and ``ends`` are None if it survives.

    ``diverges``: the first step, before any that faults, whose address leads to other memory than
    was meant. From there on the CPU works with other bytes than those that the plan tells of.
    """

    survives: bool
    step: str = ""
    first: Fault | None = None
    ends: Ending | None = None
    chain: tuple[str, ...] = ()  # one line of words for each exception that follows
    number: int | None = None  # of the plan step; step 0 is the first fetch after mov cr3
    diverges: int | None = None
    diverges_words: str = ""
    followed: str = ""  # of code that was followed without a plan, and survives: how far, in words


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the CPU that is to be judged was found, and what could still move it."""

    cpu: int  # QEMU's number of it
    rip: int
    halted: bool
    interrupts_on: bool


@dataclass(frozen=True, slots=True)
class Place:
    """What is at an address: ``symbol`` as ``name+0x12``, ``source`` as ``file:line``, ``image`` (that
    the firmware loaded) as ``name.efi+0x12``.

    Of a return address, symbol and line are those of the call.
    """

    name: str  # "RIP", "CR2", "stack": a return address
    address: int
    symbol: str | None = None
    source: str | None = None
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Switch:
    """Where a log first shows the address space that the report is about."""

    cr3: int
    before: int | None  # the CR3 until then
    offset: int  # byte of the log


@dataclass(frozen=True, slots=True)
class Observation:
    """What the machine did. ``ending`` is None if it ran."""

    ending: Ending | None
    first: Fault | None = None
    records: int = 0  # exception records under the new CR3
    source: str = ""  # where this was seen: "interrupts.log", "fault record", ...
    detail: str = ""
    chain: tuple[str, ...] = ()  # one line of words for each exception that follows
    standing: Standing | None = None  # of a machine that was still there at the end
    switch: Switch | None = None
    cpu: str = ""  # which of several CPUs this is of, in words
    last: str = ""  # of a log without a fault: what the guest was doing when last seen, in words
    places: tuple[Place, ...] = ()  # of RIP, CR2 and return addresses, as far as files and images tell
    said: tuple[str, ...] = ()  # what a guest that died or hung printed last


@dataclass(frozen=True, slots=True)
class WalkLevel:
    """An entry on the way of a walk. ``source`` is ``file:line`` of the code that made it."""

    entry: EntryRef
    is_guilty: bool
    source: str | None = None


@dataclass(frozen=True, slots=True)
class FaultWalk:
    """The address of a page fault in the capture's tables, from the top. ``refused`` is None if
    these tables let the access through: then they are not what the CPU used."""

    virt: int
    cr3: int
    access: str  # "supervisor fetch"
    refused: str | None
    dump: str  # id of the capture's dump
    levels: tuple[WalkLevel, ...]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """Something about the input itself: damage, a missing record, a skipped kind."""

    message: str
    line: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Everything one run of the analyzer has to say, findings in the order in which they strike."""

    status: Status
    findings: tuple[Finding, ...] = ()
    prediction: Prediction | None = None
    observation: Observation | None = None
    agreement: bool | None = None
    diagnostics: tuple[Diagnostic, ...] = field(default=())
    walk: FaultWalk | None = None  # of the first exception's CR2, where log and capture are joined

    @property
    def exit_status(self) -> int:
        """0 healthy, 1 an error or a guest that faulted or hung, 2 input that cannot be used."""
        if any(f.severity is Severity.ERROR for f in self.findings):
            return 1
        return {Status.HEALTHY: 0, Status.INCOMPLETE: 2}.get(self.status, 1)
