"""One access that the tables refuse: which access, which fault, which entry, which mend."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from cr3scope.dataclass import dataclass
from cr3scope.model.changes import Mend
from cr3scope.model.role import Role
from cr3scope.paging.reason import Reason
from cr3scope.x86.access import AccessKind, EntryRef, Fault

if TYPE_CHECKING:
    from cr3scope.input.capture.records import PlanStep


class Target(Enum):
    """Who makes the access."""

    PLAN = "plan"  # a step of the plan
    RANGE = "range"  # nobody yet: the trace asked for a range, and the tables do not give it
    IDT = "idt"  # delivery of an exception, reading a gate
    GDT = "gdt"  # delivery, reading the gate's code segment
    HANDLER = "handler"  # the first fetch of an exception's handler


@dataclass(frozen=True, slots=True)
class Strike:
    """A refused access, and one entry to blame for it.

    ``virt`` is the first byte that could not be accessed. ``culprit`` is an entry of the *dump*
    (None for an address that is not canonical). ``mend`` is None where no change of the tables
    would be right, because the address itself is wrong. ``step`` and ``fault`` are those of the
    plan, ``fault`` the exception that the machine reports first: of an INT instruction, the
    interrupt. What no step of the plan needs has neither. ``role``: of code that is followed, whose steps nobody
    has named.
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
    role: Role | None = None

    @property
    def access(self) -> str | Role | None:
        """Return what is accessed for what: as the plan names the step, or the role; None of what no step needs."""
        return self.role or (self.step.name if self.step else None)
