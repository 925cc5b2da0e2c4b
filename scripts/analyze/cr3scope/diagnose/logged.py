"""What the rules find in a death of which a log alone tells."""

from __future__ import annotations

from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.logged_death import death_in
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
from cr3scope.input.logs.observe import LogReport

# Those of the catalogue that look at logs, in its order. They import no numpy, which takes longer to load than a log to judge.
RULES: tuple[Rule, ...] = (
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
    idt_gate_bad.RULE,
    pic_not_remapped.RULE,
    paging_without_pe.RULE,
    overwritten_address.RULE,
    iret_frame.RULE,
    gdt_not_loaded.RULE,
    ring0_stack_missing.RULE,
    idt_not_loaded.RULE,
)


def findings_of_log(report: LogReport) -> tuple[Finding, ...]:
    """Return what the log of a guest that died shows by itself, in the catalogue's order; nothing of one that lived on."""
    death = death_in(report)
    return tuple(found for rule in RULES for found in rule.logged(death))
