"""What comes after the `mov cr3` at the PC of a CPU that stands, by its code and by the loader's trace if there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from itertools import takewhile

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.next_causes import NextCauses, next_causes
from cr3scope.diagnose.stopped import findings
from cr3scope.images.place import Place
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.model.code_prediction import CodePrediction, predict_code
from cr3scope.message import Hex, Message, message
from cr3scope.model.prediction import Prediction
from cr3scope.model.role import Role
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import switch_at_pc
from cr3scope.verdict.assemble import assemble
from cr3scope.verdict.case import Case, Circumstance
from cr3scope.verdict.fault_walk import walk_in_memory
from cr3scope.verdict.observation import same_fault
from cr3scope.verdict.picture import Picture, Space, Step
from cr3scope.verdict.source_texts import TextSource
from cr3scope.verdict.traced import Trace
from cr3scope.verdict.types import Verdict
from cr3scope.x86.cpu_state import USER, PagingMode
from cr3scope.x86.entry import ADDRESS_MASK


@dataclass(frozen=True, slots=True)
class StoppedVerdict:
    """The verdict, and the way to it: the code that was followed, and what keeps it from going on.

    ``is_told``: a trace of this switch has its part in the verdict.
    """

    now: StoppedCpu
    seen: CodePrediction
    coming: NextCauses
    verdict: Verdict
    is_told: bool = False

    @property
    def loud(self) -> tuple[Finding, ...]:
        """Return the findings of the verdict without notes."""
        return _loud(self.verdict.findings)


def judge_stopped(
    now: StoppedCpu,
    notes: Callable[[], Iterable[str]] = tuple,
    absent: Set[int] = frozenset(),
    trace: Trace | None = None,
    texts: TextSource | None = None,
    place: Callable[[int], Place | None] | None = None,
) -> StoppedVerdict:
    """Judge what comes after the `mov cr3` at the PC, or after the PC under the current tables.

    Once that is known ``notes`` about the source are asked for. ``absent``: places that were wanted and
    that the source does not hold; it grows meanwhile. Where the verdict wanted one, and where not a
    single instruction could be followed, nothing is called healthy. ``trace``: of this boot; without one
    what addresses are for is inferred. ``texts``: of source lines. ``place`` names the RIP that faults.
    """
    seen = predict_code(now)
    lacks = bool(absent)  # before anybody looks at what would break next
    coming = next_causes(now, seen)
    case = _case(now, seen, coming, absent)
    told = trace.case(now) if trace else None
    if told is not None and told.prediction is not None:
        case = _joined(told, case)
    if lacks or (case.prediction is not None and case.prediction.survives and not seen.count):
        case = replace(case, circumstances=case.circumstances | {Circumstance.ABSENT})
    said = tuple(Diagnostic(words) for words in (*notes(), *_notes(now, seen)))
    case = replace(case, diagnostics=(*case.diagnostics, *said))
    prediction = case.prediction
    if place and prediction is not None and prediction.first is not None and prediction.first.rip is not None:
        case = replace(case, prediction=replace(prediction, place=place(prediction.first.rip)))
    return StoppedVerdict(now, seen, coming, assemble(case, texts), told is not None)


def _case(now: StoppedCpu, seen: CodePrediction, coming: NextCauses, absent: Set[int]) -> Case:
    """By the code alone."""
    return Case(
        _findings(now, seen, coming, absent),
        prediction_of(now, seen),
        walk=walk_in_memory(now.with_state(seen.cpu), seen.fault),
        mended=prediction_of(now, coming.free) if coming.free else None,
        circumstances=frozenset({Circumstance.DEADLY_INTERRUPT} if seen.interrupt else ()),
        picture=_picture(now, seen),
    )


def _picture(now: StoppedCpu, seen: CodePrediction) -> Picture:
    """Without noting what the memory does not hold: the verdict did not want it."""
    switches = _is_at_switch(now, seen)
    return Picture(
        Space("behind the switch" if switches else "as it stands", seen.cpu, now.memory),
        Space("before the switch", now.cpu, now.memory) if switches and now.cpu.paging_mode is not PagingMode.NONE else None,
        platform=now.platform,
        steps=tuple(
            Step(one.role, one.kind, one.virt, max(one.width, one.extent, 1), user=one.registers.cpl == USER, implicit=one.role.is_descriptor)
            for one in seen.steps if _is_access(one.role)
        ),
    )


def _is_at_switch(now: StoppedCpu, seen: CodePrediction) -> bool:
    """Whether the instruction at the PC loads CR3, or changes the paging otherwise."""
    return switch_at_pc(now) is not None or seen.cpu != now.cpu


def _is_access(role: Role) -> bool:
    return role not in (Role.INSTRUCTION, Role.SWITCH)


def _joined(told: Case, followed: Case) -> Case:
    """What a trace tells beside what the code does. Of the machine that stands the trace's omissions tell nothing."""
    assert told.prediction is not None and followed.prediction is not None
    planned = told.prediction
    explains = not planned.survives or planned.diverges is not None
    prediction, differs = _first_of_both(planned, followed.prediction)
    alone = explains and not differs and told.has_error
    findings = told.findings if alone else _both(told.findings, followed.findings)
    by_code = prediction.first is followed.prediction.first
    is_one_cause = [one.rule for one in _loud(findings)[:1]] == [one.rule for one in followed.findings[:1]]
    return replace(
        followed, findings=findings, prediction=prediction, walk=followed.walk if by_code else told.walk,
        mended=followed.mended if is_one_cause else None, diagnostics=tuple(map(Diagnostic, differs)),
        picture=told.picture or followed.picture,
    )  # fmt: skip


def _loud(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(one for one in findings if one.severity is not Severity.NOTE)


def _first_of_both(planned: Prediction, followed: Prediction) -> tuple[Prediction, tuple[Message, ...]]:
    """Return what comes first, by the plan of a trace or by the code that is there, and what is to be said of it.

    Code is followed up to what depends on flags, a plan goes on; but where the two differ the code counts.
    """
    if planned.survives:
        return (followed if planned.diverges is None else replace(planned, chain=followed.chain)), ()
    if followed.survives or planned.first is None:
        return planned, ()
    if followed.first and same_fault(planned.first, followed.first):
        return planned, ()
    words = "the trace's plan fails at another step, {step}: told is what the code there does"
    return followed, (message(words, step=planned.step),)


def _both(told: Sequence[Finding], followed: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings of a trace and those of the code that is there; the trace knows more of the same entry.

    What the trace alone explains is told by it alone: mends of what is not wrong lead the code astray.
    """
    entries = {one.entry for one in told if one.entry}
    rules = {one.rule for one in told}
    new = [one for one in followed if one.rule not in rules and (one.entry is None or one.entry not in entries)]
    return (*new, *told)


def _findings(
    now: StoppedCpu, seen: CodePrediction, coming: NextCauses, absent: Set[int]
) -> tuple[Finding, ...]:
    """With what would break next, up to a table that the source does not hold: nobody knows what it says."""
    found = [one.finding for one in coming.obstacles] or list(findings(now, seen))
    known = takewhile(
        lambda one: one.entry is None or one.entry.value & ADDRESS_MASK not in absent, found[1:]
    )
    return (*found[:1], *known)


def prediction_of(now: StoppedCpu, seen: CodePrediction) -> Prediction:
    """Return what code that was followed comes to, as the verdict states it."""
    if seen.fault is None or seen.refused is None:
        count = message("{count} instruction" if seen.count == 1 else "{count} instructions", count=seen.count)
        words = message("the switch and {followed} behind it go through", followed=count)
        if switch_at_pc(now) is None:
            words = message("{followed} from {rip} on go through", followed=count, rip=Hex(now.rip))
        return Prediction(True, chain=(seen.end,), followed=words)
    chain = seen.chain
    first = seen.steps[0]
    return Prediction(
        False, message("{role}", role=seen.refused.role), seen.fault, chain.ends if chain else None, chain.words if chain else (),
        number=0 if seen.refused is first and seen.refused.role is Role.NEXT_FETCH and switch_at_pc(now) else None,
    )  # fmt: skip


def _notes(now: StoppedCpu, seen: CodePrediction) -> Iterator[str]:
    if not _is_at_switch(now, seen):
        yield f"CPU {now.number} stands at {now.rip:#x}, which is no mov cr3: judged under its own CR3"
