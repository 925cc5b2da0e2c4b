"""Why the code behind a CPU that stands will not go on: its refused access, asked of the rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cr3scope.diagnose.catalogue import BY_ID, RULES
from cr3scope.diagnose.compose import compose
from cr3scope.diagnose.facts.attribution import Attribution
from cr3scope.diagnose.facts.other_code import other_code
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.rule import Context, SwitchState
from cr3scope.diagnose.rules.switch import missing_cli
from cr3scope.images.symbols import NoSymbols
from cr3scope.input.capture.records import PlanStep
from cr3scope.message import Hex, message
from cr3scope.model.follow.course import OwnException, Step
from cr3scope.model.code_prediction import CodePrediction
from cr3scope.model.inferred import inferred
from cr3scope.model.known import NOTHING, Known
from cr3scope.model.prediction import Prediction
from cr3scope.model.role import Role
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import PageFault, Reason
from cr3scope.target.overlay import Overlay
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import switch_at_pc
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.names import covered
from cr3scope.x86.registers import Registers


def findings(now: StoppedCpu, seen: CodePrediction) -> tuple[Finding, ...]:
    """Return what keeps the code from going on, without a mend; or that an interrupt would.

    Where other code lies behind the switch than before it, that alone, and what refuses to fetch it: what becomes of it was
    meant by nobody.
    """
    other = other_code(now, seen)
    if other is not None:
        is_fetched = seen.refused is None or seen.refused.role is not Role.NEXT_FETCH or seen.veto is None
        return (other,) if is_fetched else (*_refusing(now, seen), other)
    if seen.refused is None:
        return () if seen.interrupt is None else (missing_cli.of_chain(seen.interrupt),)
    if seen.veto is None:
        return (refused_by_itself(now, seen),)
    return _refusing(now, seen)


def _refusing(now: StoppedCpu, seen: CodePrediction) -> tuple[Finding, ...]:
    """What the entries are that refuse the access."""
    if seen.refused is None or seen.veto is None or not names_a_cause(seen.veto):
        return ()
    struck = list(strikes_of(seen, seen.refused, seen.veto))
    return tuple(compose(context(now, seen.cpu, seen.refused.registers, struck), RULES, struck))


def names_a_cause(veto: PageFault) -> bool:
    """Return whether an entry, or the address itself, is to blame: not where a table cannot be read."""
    return bool(veto.guilty) or veto.reason in (Reason.NON_CANONICAL, Reason.MISALIGNED)


def context(
    now: StoppedCpu, cpu: CpuState, registers: Registers, struck: Sequence[Strike], is_dead: bool = False,
    known: Known = NOTHING,
) -> Context:  # fmt: skip
    """Return what the rules may look at where there is no trace.

    ``cpu``: under which tables the accesses are made. ``is_dead``: they were made, and nobody knows which
    tables were in force before. ``known``: what files and memory tell beside that.
    """
    meaning = inferred(now, registers, [(one.virt, one.rsp, _rip(one)) for one in struck], known)
    return Context(
        boot=meaning.boot, intent=meaning, attribution=Attribution(meaning.boot, meaning, NoSymbols()),
        switch=SwitchState(cpu, registers, now), platform=now.platform,
        prediction=Prediction(False), is_told=False, current=None if is_dead else now.cpu,
    )  # fmt: skip


def _rip(one: Strike) -> int | None:
    if one.step is not None:
        return one.step.rip
    return one.fault.rip if one.fault else None


def strikes_of(
    seen: CodePrediction, step: Step, veto: PageFault, overlay: Overlay | None = None
) -> Iterator[Strike]:
    """Yield one access once for each entry that vetoes it. ``overlay``: of tables that were mended before."""
    for entry in veto.guilty or (None,):
        culprit = overlay.origin(entry) if overlay and entry else entry
        yield Strike(
            _target(step), step.kind, veto.virt, veto.reason, culprit, _planned(seen, step), seen.fault,
            rsp=step.registers.stack, role=step.role,
        )  # fmt: skip


def _target(step: Step) -> Target:
    """The descriptor tables are read by the CPU itself: a load of a segment, as well as delivery."""
    return Target.GDT if step.role.is_descriptor else Target.PLAN


def _planned(seen: CodePrediction, step: Step) -> PlanStep:
    number = seen.steps.index(step) if step in seen.steps else 0
    return PlanStep(0, number, "", step.kind, step.virt, step.width, step.registers.rip)


def refused_by_itself(now: StoppedCpu, seen: CodePrediction) -> Finding:
    """Return what is wrong with an instruction that raises an exception, whatever the tables say."""
    if seen.own is not None:
        return _own_exception(seen.own)
    switch = switch_at_pc(now)
    cr3 = Hex(seen.cpu.cr3)
    loads = message("CR3 is {cr3}", cr3=cr3)
    if switch is not None:
        loads = message("{instruction} loads {cr3}", instruction=switch.text, cr3=cr3)
    return BY_ID["cr3-high-bits"].finding(
        message(
            "{loads} at RIP={rip}: reserved bits {reserved}",
            loads=loads,
            rip=Hex(now.rip),
            reserved=Hex(seen.cpu.cr3_reserved),
        ),
        message("physical addresses have {phys_bits} bits here", phys_bits=seen.cpu.max_phys_bits),
    )


def _own_exception(own: OwnException) -> Finding:
    rip = Hex(own.registers.rip)
    title = message("{instruction} at {rip}: {why}", instruction=own.instruction, rip=rip, why=own.refused.why)
    found = BY_ID[own.refused.rule or "instruction-refused"].finding(title, message("RIP={rip}", rip=rip))
    entry = own.refused.entry
    return found if entry is None else replace(found, entry=entry, range=covered(entry, entry.index << entry.form.shift))
