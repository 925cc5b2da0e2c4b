"""A CR3 with bits that no physical address has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import BEFORE_ALL_STEPS, SWITCH, Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.mode import PAGED


def _check(context: Context) -> Iterator[Finding]:
    cpu = context.cpu
    if not cpu.cr3_reserved:
        return
    finding = RULE.finding(
        message(
            "mov cr3 loads {cr3}: reserved bits {reserved}", cr3=Hex(cpu.cr3), reserved=Hex(cpu.cr3_reserved)
        ),
        _width(context, cpu),
        Message("#GP(0) at the mov itself, under the old tables; QEMU's TCG stands still there"),
    )
    yield replace(finding, step=BEFORE_ALL_STEPS)


def _width(context: Context, cpu: CpuState) -> Message:
    """How wide an address may be, and what was loaded instead if a pool of tables is there."""
    width = message("physical addresses have {phys_bits} bits here", phys_bits=cpu.max_phys_bits)
    pool = next((n for n in context.intent.maps if n.role == "tables" and cpu.cr3 in n), None)
    if pool is None:
        return width
    if pool.phys is None:
        return message("{width}; it is a virtual address, in {pool}", width=width, pool=pool.label)
    return message(
        "{width}; it is a virtual address, in {pool}, of physical {phys}",
        width=width, pool=pool.label, phys=Hex(pool.phys + cpu.cr3 - pool.virt),
    )  # fmt: skip


RULE = Rule(
    id="cr3-high-bits",
    title="CR3 with reserved bits",
    severity=Severity.ERROR,
    modes=PAGED,
    reason=(
        "Bits from MAXPHYADDR up must be zero in CR3 (bit 63 alone may be set, with "
        "CR4.PCIDE, to spare the TLB). Often the virtual address of the table was loaded."
    ),
    shows="v=0d at the mov on hardware. QEMU's TCG repeats the mov without end and logs nothing.",
    fix="Load the physical address of the top table.",
    manual="Intel SDM volume 3A, 2.5 and 5.4.1",
    check=_check,
    needs=SWITCH,
)
