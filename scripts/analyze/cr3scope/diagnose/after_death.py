"""What would have come next in a guest that died of an access, had the tables let it through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cr3scope.diagnose.facts.at_fault import AtFault
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.next_causes import NextCauses, next_causes
from cr3scope.diagnose.rules.rights.access_fault import NO_MEND
from cr3scope.input.logs.log_report import LogReport
from cr3scope.model.code_prediction import judged
from cr3scope.model.known import NOTHING, Known
from cr3scope.target.stopped_cpu import StoppedCpu, widened
from cr3scope.x86.access import Fault
from cr3scope.x86.descriptors import RPL
from cr3scope.x86.exceptions import PAGE_FAULT, PF_USER


def at_death(dead: StoppedCpu, at_fault: AtFault) -> StoppedCpu | None:
    """Return the CPU as it stood at the fatal exception, with the memory as it is now; None if its registers are
    not known, its segments are not, or it was in user mode."""
    registers = widened(at_fault.registers)
    if not registers.keys() >= {"RIP", "RSP", "CR3"} or dead.selectors.get("CS", 0) & RPL:
        return None
    alive = {**dead.registers, **registers, "HLT": 0}
    if at_fault.linear is not None and dead.delivery_registers.linear("cs", registers["RIP"]) != at_fault.linear:
        return None  # its segments were others
    return replace(dead, registers=alive, code_bits=at_fault.code_bits or dead.code_bits)


def next_after(alive: StoppedCpu, report: LogReport, known: Known = NOTHING) -> NextCauses:
    """Return the causes in the order in which they strike, the fatal one first; none if the code at the fault does not
    lead to just that page fault. ``alive``: the CPU as it stood there, ``known``: what files and memory tell of its
    addresses. QmpError if QEMU stops answering."""
    fault = report.fatal or report.first
    if fault is None or fault.vector != PAGE_FAULT or (fault.error_code or 0) & PF_USER:
        return NextCauses()
    seen = judged(alive, alive.cpu, alive.delivery_registers)
    if seen.fault is None or not _are_same(seen.fault, fault):
        return NextCauses()
    return next_causes(alive, seen, known)


def begins_with(coming: NextCauses, found: Sequence[Finding]) -> bool:
    """Return whether the causes on the way begin with what was found."""
    return bool(found and coming.obstacles) and coming.obstacles[0].finding.rule == found[0].rule


def joined(found: Sequence[Finding], coming: NextCauses) -> tuple[Finding, ...]:
    """Return the findings on a dead guest with the mend of the first one, and what comes then; as they are if the
    causes on the way begin with another rule."""
    if not begins_with(coming, found):
        return tuple(found)
    first, *others = (one.finding for one in coming.obstacles)
    proof = tuple(one for one in found[0].proof if one != NO_MEND) if first.mends else found[0].proof
    told = replace(found[0], step=first.step, mends=first.mends, proof=proof)
    known = {(one.rule, one.entry) for one in found}
    return (told, *found[1:], *(one for one in others if (one.rule, one.entry) not in known))


def _are_same(one: Fault, other: Fault) -> bool:
    return (one.error_code, one.cr2, one.rip) == (other.error_code, other.cr2, other.rip)
