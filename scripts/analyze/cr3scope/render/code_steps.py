"""The accesses of code that was followed, and what becomes of an exception there, in words: no rules, and no numpy."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from cr3scope.model.code_prediction import CodePrediction
from cr3scope.model.follow.course import Step
from cr3scope.model.machine import Chain
from cr3scope.model.role import Role
from cr3scope.render import message, role
from cr3scope.render.message import raised
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import new_cr3, switch_at_pc
from cr3scope.text import printable
from cr3scope.x86.ending import Ending
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.names import entry_words


def plain_report(now: StoppedCpu, seen: CodePrediction) -> Iterator[str]:
    """Yield what comes next, without a rule that names its cause and without a mend."""
    which = f" ({tables_words(now, seen)})"
    if seen.refused is not None and seen.fault is not None:
        yield f"verdict: faults at the {role.text(seen.refused.role)}: {raised(seen.fault)}{which}"
    elif seen.count:
        yield f"verdict: {survives(seen, which)}"
    else:
        until = ", unless an interrupt comes first" if seen.interrupt else ""
        yield f"verdict: the {role.text(Role.NEXT_FETCH)} goes through{until}{which}"
    if seen.veto is not None:
        yield from (f"  entry  {entry_words(entry)}" for entry in seen.veto.guilty)
    yield from steps(seen)
    if seen.chain is not None:
        yield from chain_words(seen.chain)


def tables_words(now: StoppedCpu, seen: CodePrediction) -> str:
    """Return which tables are meant: ``mov cr3, rax loads 0x1000``, or the CR3 that counts."""
    switch = switch_at_pc(now)
    return switch.loads(new_cr3(now)) if switch else f"CR3 {seen.cpu.cr3:#x}"


def survives(seen: CodePrediction, which: str = "") -> str:
    """Return how far the code gets, and why it is not followed further."""
    plural = "" if seen.count == 1 else "s"
    until = " unless an interrupt comes" if seen.interrupt else ""
    return f"survives {seen.count} instruction{plural}{until}{which}, then {printable(message.text(seen.end))}"


def chain_words(chain: Chain) -> Iterator[str]:
    """Yield what an exception comes to, and how that ends unless it is handled."""
    for said in chain.words:
        yield f"  {message.text(said)}"
    if chain.ends is not None and chain.ends is not Ending.HANDLED:
        yield f"  ends: {chain.ends.value}"


def steps(seen: CodePrediction) -> Iterator[str]:
    """Yield each access that is told, those of one instruction with the same role in one line."""
    for _, those in groupby(_first_of_pages(seen), key=lambda step: step.by):
        alike: dict[Role, list[Step]] = {}
        for step in those:
            alike.setdefault(step.role, []).append(step)
        for first, *others in alike.values():
            yield _line(first, f"..{others[-1].virt:#018x}" if others else "", "ok")
    if seen.refused is None:
        yield f"  then: {printable(message.text(seen.end))}"
    else:
        yield _line(seen.refused, "", "FAULTS")


def _first_of_pages(seen: CodePrediction) -> Iterator[Step]:
    """Of several accesses in one page with the same role the first, up to the one that is refused."""
    told: set[tuple[Role, int]] = set()
    for step in seen.steps:
        if step is seen.refused:
            return
        page = step.role, step.virt & -PAGE_BYTES
        if page not in told:
            yield step
        told.add(page)


def _line(step: Step, last: str, mark: str) -> str:
    return f"  {role.text(step.role):<12} {step.kind.value:<6} {step.virt:#018x}{last}  {mark}"
