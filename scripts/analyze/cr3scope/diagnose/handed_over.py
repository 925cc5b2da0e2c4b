"""What is wrong with the memory and the tables that a kernel was handed, where no access tells it."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.diagnose.facts.as_mapped import as_mapped
from cr3scope.diagnose.finding import MOST_NAMED, Finding
from cr3scope.diagnose.rule import Rule, able
from cr3scope.diagnose.rules.asked import wrong_frame
from cr3scope.diagnose.rules.code import bss_not_zeroed, overlapping_image, paddr_misload, wrong_entry
from cr3scope.diagnose.stopped import context
from cr3scope.input.logs.log_report import LogReport
from cr3scope.model.facts import Facts
from cr3scope.model.inferred import inferred
from cr3scope.model.known import Known
from cr3scope.target.stopped_cpu import StoppedCpu

_ALWAYS: tuple[Rule, ...] = (overlapping_image.RULE,)
# A kernel may change its memory and its tables as soon as it runs.
_WHILE_FRESH: tuple[Rule, ...] = (wrong_entry.RULE, paddr_misload.RULE, bss_not_zeroed.RULE, wrong_frame.RULE)


def findings(dead: StoppedCpu, report: LogReport, known: Known) -> tuple[Finding, ...]:
    """Return what the boot info and the files say against the memory, and the tables of the fatal exception."""
    fault = report.fatal or report.first
    now = dead if fault is None or fault.cr3 is None else dead.under(fault.cr3)
    seen = context(now, now.cpu, now.delivery_registers, (), is_dead=True, known=known)
    facts = Facts(now, now.cpu, seen.intent, now.platform, MOST_NAMED)
    seen = replace(seen, all_facts=facts, told_in_place=inferred(now, now.delivery_registers, (), _as_mapped(now, known)))
    rules = (*_WHILE_FRESH, *_ALWAYS) if known.is_fresh else _ALWAYS
    return tuple(one for rule in able(rules, seen) for one in rule.check(seen))


def _as_mapped(now: StoppedCpu, known: Known) -> Known:
    """With what lies in one piece of memory by the live tables, and there; no two things share it, whoever maps them."""
    return replace(known, segments=tuple(as_mapped(now, known.segments)), maps=tuple(as_mapped(now, known.maps)), tables=())
