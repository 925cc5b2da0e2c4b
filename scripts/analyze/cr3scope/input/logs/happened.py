"""The events of a chain: what each was, why it was not delivered, and of what form the whole is."""

from __future__ import annotations

from enum import Enum

from cr3scope.dataclass import dataclass
from cr3scope.input.logs.delivery import Why
from cr3scope.input.logs.event import InterruptRecord


@dataclass(frozen=True, slots=True)
class Happened:
    """``of_delivery``: it was raised by the delivery of the one before. ``why`` it could not be delivered itself; None if it
    was, or nothing bears out one reason. ``touched``: the address that its delivery reached for in vain, ``selector``: the
    one that its delivery used in vain; None where the log does not tell.
    """

    record: InterruptRecord
    of_delivery: bool = False
    why: Why | None = None
    touched: int | None = None
    selector: int | None = None


@dataclass(frozen=True, slots=True)
class Repetition:
    """The same exception again and again, from ``first`` to ``last``, so many ``records``; ``after``: the last one, and what came
    of its delivery."""

    first: InterruptRecord
    last: InterruptRecord
    records: int
    after: tuple[Happened, ...] = ()


class DeathForm(Enum):
    """What kind of death it is, from the structure of the chain alone."""

    STORM = "storm"
    STACK_ITSELF = "stack-itself"
    NO_IDT = "no-idt"
    IDT_UNMAPPED = "idt-unmapped"
    GDT_UNMAPPED = "gdt-unmapped"
    STACK_UNMAPPED = "stack-unmapped"


@dataclass(frozen=True, slots=True)
class Death:
    """``form``: that of the chain; ``cr3``: under which it was, None where the log does not tell."""

    form: DeathForm
    cr3: int | None = None
