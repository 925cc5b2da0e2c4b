"""One access that the tables refuse: which access, which fault, which entry, which mend."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from cr3scope.input.capture.records import PlanStep
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import AccessKind, EntryRef, Fault


class Target(Enum):
    """Who makes the access."""

    PLAN = "plan"  # a step of the plan
    RANGE = "range"  # nobody yet: the trace asked for a range, and the tables do not give it
    IDT = "idt"  # delivery of an exception, reading a gate
    GDT = "gdt"  # delivery, reading the gate's code segment
    HANDLER = "handler"  # the first fetch of an exception's handler


@dataclass(frozen=True, slots=True)
class Page:
    """A 4 KiB page that should be there."""

    virt: int
    frame: int
    rights: str


@dataclass(frozen=True, slots=True)
class Mend:
    """The smallest change of the tables that lets an access through, proved in the model.

    It either changes bits of entries (``edits``, in words) or maps a page that is missing. ``as_now``: the
    frame is the one behind the address in the tables in force now. ``goes_on``: the same instruction needs
    the same of more pages than were looked at.
    """

    edits: tuple[str, ...] = ()
    page: Page | None = None
    as_now: bool = False
    goes_on: bool = False


@dataclass(frozen=True, slots=True)
class Strike:
    """A refused access, and one entry to blame for it.

    ``virt`` is the first byte that could not be accessed. ``culprit`` is an entry of the *dump*
    (None for an address that is not canonical). ``mend`` is None where no change of the tables
    would be right, because the address itself is wrong. ``step`` and ``fault`` are those of the
    plan, ``fault`` the exception that the machine reports first: of an INT instruction, the
    interrupt. What no step of the plan needs has neither.
    """

    target: Target
    kind: AccessKind
    virt: int
    reason: Reason
    culprit: EntryRef | None
    step: PlanStep | None = None
    fault: Fault | None = None
    mend: Mend | None = None
    rsp: int | None = None  # when the access is made; of a plan, and where nobody knows, None
