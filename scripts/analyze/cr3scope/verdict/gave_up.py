"""A kernel that says on its console that it gives up, whatever else is known of its boot."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rules.kernel import kernel_panic, kernel_silent
from cr3scope.diagnose.rules.machine import restarted, unexplained_fault
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.message import Message, message
from cr3scope.verdict.case import Case, Circumstance

_NO_CAUSE = frozenset({unexplained_fault.RULE.id, kernel_silent.RULE.id, restarted.RULE.id})  # what came of one
BEFORE = "the console begins with a boot without a trace, and that boot died: {words}"
BEYOND = "behind boot {number} the machine booted again, without a trace, and that boot died: {words}"
SCREEN = "the firmware printed its exception screen"
UNSURE = "whether the kernel gave up is not known: of the last lines beside its trace one is {words}"


def panicked(words: str) -> Finding:
    """Return the finding of a kernel that gave up with these ``words``, "" if it did not say why."""
    title = message("the kernel gave up: {words}", words=words or "it does not say why")
    return BY_ID[kernel_panic.RULE.id].finding(title, Message("said on the serial port" if words else "told without a word of its own"))


def with_panic(case: Case, words: str | None) -> Case:
    """Return the case with that finding behind the causes that its trace shows, ``words`` being None of a kernel that did not."""
    if words is None or Circumstance.GAVE_UP in case.circumstances:
        return case
    causes = [one for one in case.findings if one.severity is Severity.ERROR and one.rule not in _NO_CAUSE]
    others = [one for one in case.findings if one not in causes]
    return replace(case, findings=(*causes, panicked(words), *others), circumstances=case.circumstances | {Circumstance.GAVE_UP})


def with_doubt(case: Case, words: str) -> Case:
    """Return the case of a boot whose last lines may say that its kernel gave up; "" of one whose do not."""
    if not words:
        return case
    told = Diagnostic(message(UNSURE, words=words))
    return replace(case, circumstances=case.circumstances | {Circumstance.MAY_HAVE_DIED}, diagnostics=(told, *case.diagnostics))
