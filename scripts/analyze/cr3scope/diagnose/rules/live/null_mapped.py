"""Address 0 is mapped, and nobody lives there any more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import LIVE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.paging.walk import Translation, access
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.mode import PAGED


def _check(context: Context) -> Iterator[Finding]:
    registers = context.registers
    lives = (registers.rip, registers.rsp, registers.idt_base, registers.gdt_base)
    half = 63 if registers.mode is CpuMode.LONG else 31
    if not all(virt >> half for virt in lives):
        return  # it still uses what is mapped low
    found = access(context.tables, context.cpu, 0, AccessKind.READ, platform=context.platform)
    if isinstance(found, Translation):
        told = RULE.finding(
            message("address 0 is mapped ({rights}) to {phys}", rights=found.rights, phys=Hex(found.phys)),
            message("code, stack, IDT and GDT lie in the upper half: RIP={rip}", rip=Hex(registers.rip)),
        )
        yield replace(told, entry=found.leaf)


RULE = Rule(
    id="null-mapped",
    title="address 0 is mapped",
    severity=Severity.WARNING,
    modes=PAGED,
    reason=(
        "The loader's identity map is still there, though the kernel runs high: a null pointer reads and writes physical address 0, "
        "and a call through one executes what lies there, instead of a page fault at the mistake."
    ),
    shows="Nothing at first; wild behaviour, or a run through zeros, where a page fault with a small CR2 should be.",
    fix="Clear the entries of the lower half, and load CR3 anew, once code, stack and descriptor tables lie high.",
    manual="Intel SDM volume 3A, 5.6.1 and 5.10.4.1",
    check=_check,
    needs=LIVE,
)
