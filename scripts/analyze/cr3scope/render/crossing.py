"""The places that a switch must carry over, before and after it."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.model.code_prediction import CodePrediction
from cr3scope.model.role import Role
from cr3scope.paging.compare import differences
from cr3scope.paging.effective import Mappings, mappings
from cr3scope.paging.walk import walk
from cr3scope.render.sizes import page_name, size_text
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.word import MASK64

_MOST_CHANGES = 12
_UNMAPPED = "not mapped"


def places(now: StoppedCpu, seen: CodePrediction) -> Iterator[str]:
    """Yield what the current tables and the new ones make of each address that the switch needs."""
    yield f"{'':<6}  {'address':<18}  {'before':<28}  after"
    last = seen.refused or seen.steps[-1]
    registers = last.registers
    entry = next((step.virt for step in seen.steps if step.role is Role.ENTRY), None)
    for name, virt in (
        ("code", now.rip), ("stack", now.registers.get("RSP", 0) - 1), ("entry", entry),
        ("IDT", registers.idt_base), ("GDT", registers.gdt_base),
    ):  # fmt: skip
        if virt is not None:
            sides = (_mapping(now, cpu, virt) for cpu in (now.cpu, seen.cpu))
            yield f"{name:<6}  {virt:#018x}  {next(sides):<28}  {next(sides)}".rstrip()


def changes(now: StoppedCpu, seen: CodePrediction) -> Iterator[str]:
    """Yield what the switch changes in ranges and rights, as far as a screen holds it."""
    old, new = (mappings(now, cpu, now.platform) for cpu in (now.cpu, seen.cpu))
    found = differences(old, new)
    plural = "" if len(found) == 1 else "s"
    yield f"the switch changes {len(found)} range{plural}" + (":" if found else "")
    for one in found[:_MOST_CHANGES]:
        before, after = (_row(side, row) for side, row in ((old, one.left_row), (new, one.right_row)))
        size = size_text(one.last - one.first + 1)
        yield f"  {one.first:016x}..{one.last:016x}  {size:>10}  {before:<12}  ->  {after}"
    if len(found) > _MOST_CHANGES:
        yield f"  and {len(found) - _MOST_CHANGES} more (`cr3scope diff` at the mov cr3 shows all)"


def _row(side: Mappings, row: int | None) -> str:
    if row is None:
        return _UNMAPPED
    return f"{side.rights(row)} {side.memory_type(row)} {page_name(side.kind(row).page_bytes)}"


def _mapping(now: StoppedCpu, cpu: CpuState, virt: int) -> str:
    path = walk(now, cpu, virt & MASK64, now.platform)
    if path.stop is not None or path.phys is None:
        return _UNMAPPED
    return f"{path.phys:#x} {path.rights} {page_name(path.page_size)}"
