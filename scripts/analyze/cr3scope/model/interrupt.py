"""Interrupts on the way: those of INT instructions, and those of hardware if they are not masked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cr3scope.input.capture.records import PlanStep
from cr3scope.message import Message
from cr3scope.model.delivered import Raised
from cr3scope.model.delivery import Delivery
from cr3scope.model.intent import Intent
from cr3scope.model.machine import Chain, carry
from cr3scope.model.plan import registers_at
from cr3scope.model.strike import Target
from cr3scope.x86.access import Fault
from cr3scope.x86.exceptions import FIRST_INTERRUPT
from cr3scope.x86.registers import Registers

_IF = 1 << 9  # of RFLAGS


def is_hardware(step: PlanStep) -> bool:
    """Return whether the step is an interrupt that is pending: the CPU takes it instead of a fetch."""
    return step.vector is not None and step.vector >= FIRST_INTERRUPT


def failure(
    delivery: Delivery, step: PlanStep, registers: Registers, intent: Intent
) -> Chain | None:
    """Return the chain of an interrupt after which the plan does not go on; None if it does, or if the step is
    no interrupt.

    A handler of the loader or the kernel returns by IRETQ. One of the firmware prints what it knows of the
    exception, and halts.
    """
    if step.vector is None:
        return None
    software = not is_hardware(step)
    chain = carry(delivery, step.vector, registers_at(step, registers, None), software)
    if not chain.is_straight:
        return chain
    if software and _is_foreign(intent, chain.handler):
        return replace(chain, words=(*chain.words, Message("it is the firmware's, and does not return")))
    return None


def _is_foreign(intent: Intent, handler: int | None) -> bool:
    own = [*intent.images, *intent.segments]
    return bool(own) and handler is not None and not any(handler in named for named in own)


def reported(step: PlanStep, chain: Chain, cr3: int) -> Fault:
    """Return the first exception that the machine reports of an interrupt that failed.

    Of an INT instruction, the interrupt itself, without an error code (SDM 3A, 7.4.2, 7.13). One of the
    hardware is no exception: what its delivery raises is the first.
    """
    if step.vector is not None and not is_hardware(step):
        return Fault(step.vector, None, None, step.rip, cr3)
    first = chain.faults[0]
    at_handler = first.fault if first.target is Target.HANDLER else None
    rip = step.rip if at_handler is None else at_handler.virt
    return Fault(first.vector, first.error_code, first.cr2, rip, cr3)


def refused(step: PlanStep, chain: Chain) -> Raised | None:
    """Return the access that the tables refused, if a change of the tables is what mends the step; else None.

    It is not where a gate names no code segment, and a pending interrupt is to be masked.
    """
    if is_hardware(step):
        return None
    first = chain.faults[0] if chain.faults else None
    return first if first is not None and first.fault is not None else None


def unmasked(delivery: Delivery, plan: Sequence[PlanStep], registers: Registers) -> Chain | None:
    """Return the chain of an interrupt of the hardware that finds no way to its handler; None if it finds one.

    Its vector is the firmware's choice; the first that is free stands for all.
    """
    if not registers.rflags & _IF or len(plan) < 2:
        return None
    chain = carry(delivery, FIRST_INTERRUPT, registers)
    return None if chain.is_straight else chain
