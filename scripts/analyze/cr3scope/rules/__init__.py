"""One file for each rule, and the order in which they are asked.

Of several rules that know a strike, the first owns it: narrow causes stand before wide ones, and
``access-fault`` takes what is left.
"""

from __future__ import annotations

from cr3scope.rules import (
    access_fault,
    asked_for_reset,
    bad_root,
    boot_info_unmapped,
    code_unmapped,
    cr3_reserved,
    framebuffer_unmapped,
    gdt_unmapped,
    guard_missing,
    halted_forever,
    handler_unmapped,
    identity_missing_trampoline,
    idt_gate_bad,
    idt_unmapped,
    jump_to_null,
    kernel_check_failed,
    kernel_panic,
    kernel_silent,
    loader_refused,
    non_canonical,
    nx_leaf_code,
    nx_upper_level,
    preflight_disagrees,
    recursive_slot,
    reserved_bits,
    restarted,
    spinning,
    stack_readonly,
    stack_top_wrong,
    stack_unmapped,
    tables_changed,
    tables_reclaimed,
    unexplained_fault,
    upper_level_readonly,
    wrong_entry,
    zero_sled,
)
from cr3scope.rules.rule import Rule

RULES: tuple[Rule, ...] = (
    loader_refused.RULE,
    bad_root.RULE,
    non_canonical.RULE,
    reserved_bits.RULE,
    nx_upper_level.RULE,
    upper_level_readonly.RULE,
    wrong_entry.RULE,
    identity_missing_trampoline.RULE,
    idt_unmapped.RULE,
    gdt_unmapped.RULE,
    handler_unmapped.RULE,
    nx_leaf_code.RULE,
    code_unmapped.RULE,
    stack_top_wrong.RULE,
    stack_unmapped.RULE,
    stack_readonly.RULE,
    boot_info_unmapped.RULE,
    framebuffer_unmapped.RULE,
    access_fault.RULE,
    guard_missing.RULE,
    recursive_slot.RULE,
    tables_changed.RULE,
    tables_reclaimed.RULE,
    preflight_disagrees.RULE,
    kernel_check_failed.RULE,
    unexplained_fault.RULE,
    restarted.RULE,
    kernel_silent.RULE,
    # Found on a paused machine alone (machine/causes.py):
    jump_to_null.RULE,
    zero_sled.RULE,
    cr3_reserved.RULE,
    idt_gate_bad.RULE,
    halted_forever.RULE,
    spinning.RULE,
    asked_for_reset.RULE,
    kernel_panic.RULE,
)

BY_ID = {rule.id: rule for rule in RULES}
