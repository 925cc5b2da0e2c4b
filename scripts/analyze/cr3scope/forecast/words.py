"""A forecast in words: the verdict first, then its reasons."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope import exceptions
from cr3scope.forecast.forecast import Forecast, outcome
from cr3scope.forecast.stopped_cpu import StoppedCpu
from cr3scope.forecast.switch import new_cr3, switch_at_pc
from cr3scope.paging.entry import PAGE_BYTES
from cr3scope.text import printable
from cr3scope.verdict import Ending


def headline(now: StoppedCpu, seen: Forecast) -> Iterator[str]:
    """The verdict, and the rules that name the cause."""
    switch = switch_at_pc(now)
    name = switch.register if switch else ""
    if now.code_bits != 64:
        name = f"e{name[1:]}"
    which = f"mov {name}, cr3 loads" if switch else "CR3"
    which = f"{which} {new_cr3(now) if switch else seen.cpu.cr3:#x}"
    if seen.fault is None or seen.refused is None:
        plural = "" if seen.count == 1 else "s"
        until = " unless an interrupt comes" if seen.findings else ""
        yield f"verdict: survives {seen.count} instruction{plural}{until} ({which}), then {printable(seen.end)}"
    else:
        fault, step = seen.fault, seen.refused
        cr2 = "" if fault.cr2 is None else f", CR2={fault.cr2:#x}"
        words = exceptions.describe(fault.vector, fault.error_code)
        yield f"verdict: faults at the {step.name}: {words}{cr2}, RIP={fault.rip:#x} ({which})"
    for finding in seen.findings:
        yield f"rule: {finding.rule}: {printable(finding.title)}"


def report(now: StoppedCpu, seen: Forecast) -> Iterator[str]:
    """The verdict first, then its reasons."""
    yield from headline(now, seen)
    yield from _steps(seen)
    chain = seen.chain
    if chain is None:
        chain = outcome(now, seen.cpu, exceptions.PAGE_FAULT, seen.last)
        yield "if it page-faulted nevertheless:"
    for line in chain.words:
        yield f"  {line.replace('the capture does not hold', 'memory cannot be read:')}"
    if chain.ends is not None and chain.ends is not Ending.HANDLED:
        yield f"  ends: {chain.ends.value}"


def _steps(seen: Forecast) -> Iterator[str]:
    """Each access; of several in one page by the same name the first."""
    told: set[tuple[str, int]] = set()
    for step in seen.steps:
        page = step.name, step.virt & -PAGE_BYTES
        refused = step is seen.refused
        if refused or page not in told:
            mark = "FAULTS" if refused else "ok"
            yield f"  {step.name:<12} {step.kind.value:<6} {step.virt:#018x}  {mark}"
        told.add(page)
        if refused:
            return
    yield f"  then: {printable(seen.end)}"
