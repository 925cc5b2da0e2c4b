"""What the rules find in a death of which a log alone tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath, death_in
from cr3scope.diagnose.rule import Rule
from cr3scope.diagnose.rules.code import non_canonical, overwritten_address
from cr3scope.diagnose.rules.descriptors import (
    gdt_not_loaded,
    gdt_unmapped,
    handler_unmapped,
    idt_gate_bad,
    idt_not_loaded,
    idt_unmapped,
    selector_mismatch,
)
from cr3scope.diagnose.rules.machine import pic_not_remapped
from cr3scope.diagnose.rules.rights import nx_without_nxe
from cr3scope.diagnose.rules.stack import iret_frame, ring0_stack_missing, stack_readonly, stack_unmapped
from cr3scope.diagnose.rules.switch import cr3_flags, missing_cli, paging_without_pe
from cr3scope.input.logs.event import InterruptRecord
from cr3scope.input.logs.happened import Happened
from cr3scope.input.logs.log_report import LogReport

# Those of the catalogue that look at logs, in its order. They import no numpy, which takes longer to load than a log to judge.
RULES: tuple[Rule, ...] = (
    pic_not_remapped.RULE,
    paging_without_pe.RULE,
    overwritten_address.RULE,
    iret_frame.RULE,
    gdt_not_loaded.RULE,
    missing_cli.RULE,
    selector_mismatch.RULE,
    non_canonical.RULE,
    nx_without_nxe.RULE,
    idt_unmapped.RULE,
    gdt_unmapped.RULE,
    handler_unmapped.RULE,
    stack_unmapped.RULE,
    stack_readonly.RULE,
    cr3_flags.RULE,
    ring0_stack_missing.RULE,
    idt_not_loaded.RULE,
    idt_gate_bad.RULE,
)

# Rules that say one thing: who sees tables and gates says it better than who sees a log.
_ALIKE: tuple[frozenset[str], ...] = (
    frozenset({"idt-gate-bad", "selector-mismatch"}),
    frozenset({"idt-unmapped", "missing-cli"}),
    frozenset({"stack-unmapped", "stack-readonly", "stack-top-wrong", "guard-missing"}),
    frozenset({"handler-unmapped", "handler-faults"}),
    frozenset({"nx-without-nxe", "reserved-bits", "page-size-missing", "gigapage-unsupported", "global-nonleaf",
               "virt-address-in-entry", "tables-not-zeroed", "tables-of-other-mode", "large-pages-off"}),
    frozenset({"cr3-flags", "bad-root"}),
    frozenset({"non-canonical", "overwritten-address"}),
    frozenset({"instruction-refused", "gdt-not-loaded"}),
)  # fmt: skip


def findings_of_log(report: LogReport) -> tuple[Finding, ...]:
    """Return what the log of a guest that died shows by itself, in the catalogue's order; nothing of one that lived on."""
    death = death_in(report)
    return tuple(found for rule in RULES if rule.speaks_in(death.mode) for found in rule.logged(death))


def findings_of_last(interrupt: InterruptRecord) -> tuple[Finding, ...]:
    """Return what a device's interrupt shows after which a log tells of nothing more: a handler took it, of whatever."""
    found = pic_not_remapped.RULE.logged(LoggedDeath((Happened(interrupt),)))
    return tuple(replace(one, severity=Severity.WARNING) for one in found)


def beside(found: Sequence[Finding], logged: Sequence[Finding]) -> Iterator[Finding]:
    """Yield what a log shows beside what was found otherwise, and says again nothing of that.

    Where an error was found the cause is known: what the log adds is worth knowing then, and no more.
    """
    known = {one.rule for one in found}
    known = known.union(*(alike for alike in _ALIKE if known & alike))
    is_known = any(one.severity is Severity.ERROR for one in found)
    for one in logged:
        if one.rule not in known:
            yield replace(one, severity=Severity.NOTE) if is_known else one
