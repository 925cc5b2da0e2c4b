"""What is wrong with the memory and the tables that a kernel was handed, where no access tells it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cr3scope.diagnose.facts.as_mapped import as_mapped
from cr3scope.diagnose.finding import MOST_NAMED, Finding
from cr3scope.diagnose.rule import Rule, able
from cr3scope.diagnose.rules.asked import wrong_frame
from cr3scope.diagnose.rules.code import bss_not_zeroed, overlapping_image, paddr_misload, wrong_entry
from cr3scope.diagnose.stopped import context
from cr3scope.input.logs.log_report import LogReport
from cr3scope.model.facts import Facts
from cr3scope.model.known import Known
from cr3scope.target.stopped_cpu import StoppedCpu

# A kernel may change its memory and its tables as soon as it runs.
_WHILE_FRESH: tuple[Rule, ...] = (wrong_entry.RULE, paddr_misload.RULE, bss_not_zeroed.RULE, wrong_frame.RULE)


def findings(dead: StoppedCpu, report: LogReport, known: Known) -> tuple[Finding, ...]:
    """Return what the boot info and the files say against the memory, and the tables of the fatal exception."""
    fault = report.fatal or report.first
    now = dead if fault is None or fault.cr3 is None else dead.under(fault.cr3)
    fresh = _found(now, known, _WHILE_FRESH) if known.is_fresh else ()
    return (*fresh, *_found(now, _as_mapped(now, known), (overlapping_image.RULE,)))


def _found(now: StoppedCpu, known: Known, rules: Sequence[Rule]) -> Iterator[Finding]:
    seen = context(now, now.cpu, now.delivery_registers, (), is_dead=True, known=known)
    seen = replace(seen, all_facts=Facts(now, now.cpu, seen.intent, now.platform, MOST_NAMED))
    for rule in able(rules, seen):
        yield from rule.check(seen)


def _as_mapped(now: StoppedCpu, known: Known) -> Known:
    """With what lies in one piece of memory by the live tables, and there; no two things share it, whoever maps them."""
    return replace(known, segments=tuple(as_mapped(now, known.segments)), maps=tuple(as_mapped(now, known.maps)), tables=())
