"""A CR3 with bits that no physical address has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import BEFORE_ALL_STEPS, Context, Rule
from cr3scope.message import Message, as_messages


def _check(context: Context) -> Iterator[Finding]:
    cpu = context.cpu
    if cpu is None or not cpu.cr3_reserved:
        return
    pool = next((n for n in context.intent.maps if n.role == "tables" and cpu.cr3 in n), None)
    where = "" if pool is None else f"; it is a virtual address, in {pool.label}"
    if pool is not None and pool.phys is not None:
        where += f", of physical {pool.phys + cpu.cr3 - pool.virt:#x}"
    finding = RULE.finding(
        Message(f"mov cr3 loads {cpu.cr3:#x}: reserved bits {cpu.cr3_reserved:#x}"),
        *as_messages(f"physical addresses have {cpu.max_phys_bits} bits here{where}\n"
        "#GP(0) at the mov itself, under the old tables; QEMU's TCG stands still there"),
    )
    yield replace(finding, step=BEFORE_ALL_STEPS)


RULE = Rule(
    id="cr3-high-bits",
    title="CR3 with reserved bits",
    severity=Severity.ERROR,
    reason=(
        "Bits from MAXPHYADDR up must be zero in CR3 (bit 63 alone may be set, with "
        "CR4.PCIDE, to spare the TLB). Often the virtual address of the table was loaded."
    ),
    shows="v=0d at the mov on hardware. QEMU's TCG repeats the mov without end and logs nothing.",
    fix="Load the physical address of the top table.",
    manual="Intel SDM volume 3A, 2.5 and 5.4.1",
    check=_check,
)
