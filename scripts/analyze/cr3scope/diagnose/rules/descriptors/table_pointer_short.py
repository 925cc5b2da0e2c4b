"""A pointer of 32-bit code, six bytes long, given to LGDT or LIDT in 64-bit code, which read ten."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Rule
from cr3scope.message import Hex, message
from cr3scope.target.stopped_cpu import StoppedCpu, Table
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, GATE_BYTES, RPL, Descriptor, Gate
from cr3scope.x86.exceptions import PROTECTION
from cr3scope.x86.mode import LONG
from cr3scope.x86.word import MASK32


def of_cpu(now: StoppedCpu) -> Iterator[Finding]:
    """Yield a finding for each table of a CPU in 64-bit code whose base reads well without its upper half alone."""
    if now.code_bits != 64:
        return
    code = now.selectors.get("CS", 0)
    if now.gdt is not None and _is_lost(now, now.gdt):
        value = now.bytes_at((now.gdt.base & MASK32) + (code & -DESCRIPTOR_BYTES), DESCRIPTOR_BYTES)
        found = Descriptor.decode(value)
        if len(value) == DESCRIPTOR_BYTES and code & ~RPL and found.is_code and found.present and found.long:
            yield _finding("GDTR", "lgdt", now.gdt, now)
    if now.idt is not None and _is_lost(now, now.idt):
        value = now.bytes_at((now.idt.base & MASK32) + GATE_BYTES * PROTECTION, GATE_BYTES)
        gate = Gate.decode(value)
        if len(value) == GATE_BYTES and gate.present and gate.is_usable_type and gate.selector & ~RPL == code & ~RPL:
            yield _finding("IDTR", "lidt", now.idt, now)


def _is_lost(now: StoppedCpu, table: Table) -> bool:
    return table.base > MASK32 and not now.bytes_at(table.base, 1)


def _finding(register: str, instruction: str, table: Table, now: StoppedCpu) -> Finding:
    return RULE.finding(
        message("{register} has base {base}: its upper half is what lay behind a pointer of six bytes",
                register=register, base=Hex(table.base)),
        message("{virt} is not mapped, and at {low} lies such a table; in 64-bit code {instruction} reads ten bytes",
                virt=Hex(table.base), low=Hex(table.base & MASK32), instruction=instruction),
    )  # fmt: skip


RULE = Rule(
    id="table-pointer-short",
    title="lgdt or lidt read a pointer of 32-bit code",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "In 64-bit code LGDT and LIDT read a limit of two bytes and a base of eight, whatever prefix they have. The pointer "
        "that 32-bit code has used has a base of four: the upper half of the base is whatever lies behind it."
    ),
    shows="Nothing at once; the next load of a segment, or the next exception, dies with CR2 far above the table.",
    fix="Reserve ten bytes for the pointer, .word limit and .quad base, and load it again in 64-bit code.",
    manual="Intel SDM volume 2A, LGDT/LIDT; volume 3A, 3.5.1",
)
