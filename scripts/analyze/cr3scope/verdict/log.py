"""What a log alone comes to: nothing is foreseen, so nothing is compared."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.observation import observed
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.log_format import Story
from cr3scope.input.logs.log_report import LogReport
from cr3scope.message import Message
from cr3scope.verdict.assemble import assemble
from cr3scope.verdict.case import Case, Circumstance
from cr3scope.verdict.types import Verdict
from cr3scope.x86.exceptions import name

if TYPE_CHECKING:
    from cr3scope.images.symbols import Symbols

_NO_EXCEPTION = (
    "the log holds no exception: a guest that hangs (hlt with interrupts off, a loop) leaves such a"
    " log as well, and `cr3scope run` tells them apart"
)


def judge_log(story: Story, symbols: Symbols | None = None) -> Verdict:
    """Return the verdict on a log that nobody watched growing; ``symbols``: of the files that the user gave."""
    return assemble(case_of_story(story, symbols), symbols)


def case_of_story(story: Story, symbols: Symbols | None = None) -> Case:
    """Return what is known of a log that nobody watched growing."""
    case = case_of_log(story.report)
    if story.report.ending is None:
        case = _ran_on(case, story)
    if story.walked is not None:
        from cr3scope.verdict.printed_walk import walk_as_printed  # most logs hold no walk

        case = replace(case, walk=walk_as_printed(story.walked, story.report.fatal, story.report.dump))
    if symbols is not None and case.observation is not None:
        from cr3scope.verdict.places import placed  # names want ELF files read, which most logs come without

        seen, notes = placed(case.observation, story.report, symbols, story.last_rip)
        case = replace(case, observation=seen, diagnostics=(*case.diagnostics, *notes))
    return case


def case_of_log(report: LogReport) -> Case:
    """Return what a log says of exceptions, and what the rules find in that alone."""
    notes = tuple(Diagnostic(note) for note in (*report.notes, *report.earlier))
    told = ((Circumstance.ROUTINE, report.is_routine), (Circumstance.ENDED_WITH_FAILURE, report.is_by_bios))
    if report.is_routine:
        assert report.first is not None
        words = f"the log ends in {name(report.first.vector)} at RIP={report.first.rip or 0:#x}; the guest survived others like it"
        notes = (Diagnostic(words), *notes)
    return Case(_findings(report), observation=observed(report), circumstances=frozenset(one for one, holds in told if holds), diagnostics=notes)


def _findings(report: LogReport) -> tuple[Finding, ...]:
    if report.is_by_bios:
        from cr3scope.diagnose.rules.machine.bios_reset import on_reset  # most logs need no rule

        return (on_reset(Message("the log ends with its INT3, in the BIOS and with an empty IDT")),)
    if report.ending is None:
        return ()
    from cr3scope.diagnose.logged import findings_of_log  # a log of a guest that lives needs no rules

    return findings_of_log(report)


def _ran_on(case: Case, story: Story) -> Case:
    """No exception ended the guest."""
    assert case.observation is not None
    seen = replace(case.observation, last=story.last)
    if story.reset:
        seen = replace(seen, detail=story.reset, last="")
        return Case(case.findings, observation=seen, circumstances=frozenset({Circumstance.ENDED_WITH_FAILURE}))
    if story.tells_nothing:
        note = Diagnostic(story.tells_nothing)
        return Case(observation=seen, circumstances=frozenset({Circumstance.TOLD_NOTHING}), diagnostics=(note,))
    if story.last_interrupt is not None:
        from cr3scope.diagnose.logged import findings_of_last

        case = replace(case, findings=findings_of_last(story.last_interrupt))
    if story.report.records:
        return replace(case, observation=seen)
    return replace(case, observation=seen, diagnostics=(Diagnostic(_NO_EXCEPTION),))
