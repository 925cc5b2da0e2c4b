"""How an attempt to deliver an exception ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from cr3scope.dataclass import dataclass
from cr3scope.message import Message
from cr3scope.model.strike import Target
from cr3scope.paging.walk import PageFault
from cr3scope.x86.access import AccessKind
from cr3scope.x86.segment import Segment


class Refusing(Enum):
    """What of a delivery is of no use, or cannot be reached: what only delivery in protected mode asks for."""

    GATE = "gate"
    CODE = "code segment"
    STACK = "stack of another privilege level"
    TSS = "TSS"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class Entered:
    """The CPU is at the handler's first instruction."""

    handler: int
    rsp: int
    selector: int
    ist: int = 0
    stack: int | None = None  # the selector of SS, where it changes
    segments: Mapping[str, Segment] = field(default_factory=dict)  # that were loaded on the way
    cr3: int | None = None  # of a task that was switched to
    task: int | None = None  # its selector
    flags: int | None = None  # where a task brings its own


@dataclass(frozen=True, slots=True)
class Raised:
    """Delivery raised another exception; ``touching`` says what the CPU was reaching for.

    ``fault`` is None where no access was refused, but what was read is of no use.
    """

    vector: int
    error_code: int
    cr2: int | None
    touching: Message
    fault: PageFault | None = None
    target: Target = Target.PLAN
    kind: AccessKind = AccessKind.READ
    refusing: Refusing | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """The bytes that decide are not known, or, unless ``is_modelled``, what the CPU makes of them is not followed."""

    what: Message
    is_modelled: bool = True
