"""The GDT pointer of other CPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, Message, message
from cr3scope.model.ap_start import ApStart
from cr3scope.model.follow.segment_load import outside
from cr3scope.model.start_up import block_of
from cr3scope.target.stopped_cpu import StoppedCpu, Table
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import CR0_PG
from cr3scope.x86.descriptors import Descriptor, descriptor_offset
from cr3scope.x86.exceptions import PROTECTION
from cr3scope.x86.mode import PROTECTED
from cr3scope.x86.segment import in_real_mode

_LAST_OFFSET = 0xFFFF  # in a segment of real mode


def _check(context: Context) -> Iterator[Finding]:
    start, block = context.facts.ap_start, block_of(context.boot)
    if start is None or block is None or start.paged is not None or start.last.mode is not CpuMode.PROTECTED:
        return
    startup, code, data = block
    base, limit = start.last.gdt_base, start.last.gdt_limit
    if start.now.gdt == Table(base, limit):
        return  # as INIT leaves it: the trace does not hold the pointer
    first, last = code.virt, data.virt + len(data.data) - 1
    if not first <= base <= last and first <= base + startup.code <= last:
        yield _finding(start, message("the GDT pointer of the other CPUs is {base}, an offset in their segment: the table lies at {virt}",
                                      base=Hex(base), virt=Hex(base + startup.code)))  # fmt: skip
    elif start.seen.own is not None and _is_outside(start):
        yield _finding(start, message("the GDT of the other CPUs at {base} ends at {limit:x}h, before the descriptor of their far jump",
                                      base=Hex(base), limit=Hex(limit)))  # fmt: skip


def of_cpu(now: StoppedCpu, fault: Fault | None, others: Sequence[StoppedCpu]) -> Iterator[Finding]:
    """Yield at most one finding on a CPU that died of a selector: its GDT lies where its pointer counts from its segment, or
    another CPU in long mode has one of the same size elsewhere."""
    if not now.number or fault is None or fault.vector != PROTECTION or not fault.error_code or now.mode is not CpuMode.PROTECTED:
        return
    in_segment = next(_in_segment(now, descriptor_offset(fault.error_code)), None)
    if in_segment is not None:
        yield in_segment
        return
    own, first = now.gdt, next((other for other in others if other.number != now.number and other.in_long_mode), None)
    if own is None or first is None or first.gdt is None or now.cpu.cr0 & CR0_PG:
        return
    if own.base == first.gdt.base or own.limit != first.gdt.limit:
        return
    selector = descriptor_offset(fault.error_code)
    yield RULE.finding(
        message("CPU {cpu} has its GDT at {base}, where there is no segment for selector {selector:02x}h; CPU {other} has one of the same"
                " size at {first}", cpu=now.number, base=Hex(own.base), selector=Hex(selector), other=first.number,
                first=Hex(first.gdt.base)),
        message("its descriptor there is {value:#018x}", value=Hex(now.descriptor(selector) or 0)),
    )  # fmt: skip


def _in_segment(now: StoppedCpu, selector: int) -> Iterator[Finding]:
    """Of a CPU that still has CS of real mode: no code segment at the GDT's base, and one as far from the start of CS."""
    own, code = now.gdt, now.segments.get("CS")
    if own is None or code is None or not code.base or code.base != in_real_mode(code.selector).base or own.base > _LAST_OFFSET:
        return
    meant = replace(now, gdt=Table(own.base + code.base, own.limit))
    there, here = meant.descriptor(selector), now.descriptor(selector)
    if there is None or not _is_code(there) or here is not None and _is_code(here):
        return
    yield RULE.finding(
        message("CPU {cpu} has its GDT at {base}: that is the table's offset in its segment, and the table lies at {meant}",
                cpu=now.number, base=Hex(own.base), meant=Hex(own.base + code.base)),
        message("CS begins at {cs}; selector {selector:02x}h there is {there:#018x}, a code segment, and at {base} it is {here:#018x}",
                cs=Hex(code.base), selector=Hex(selector), there=Hex(there), base=Hex(own.base), here=Hex(here or 0)),
    )  # fmt: skip


def _is_code(value: int) -> bool:
    found = Descriptor(value)
    return found.is_code and found.present


def _is_outside(start: ApStart) -> bool:
    own = start.seen.own
    code = own.refused.error_code if own is not None else None
    return bool(code) and outside(code or 0, start.last.gdt_limit) is not None


def _finding(start: ApStart, title: Message) -> Finding:
    return RULE.finding(title, message("at {rip}, in protected mode", rip=Hex(start.last.pc)))


RULE = Rule(
    id="ap-gdt-pointer",
    title="the GDT pointer of the other CPUs is wrong",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "LGDT takes a linear address. In real mode an assembler knows an offset from the segment's start instead, "
        "and the segment of a CPU that was just started begins at vector << 12: the two differ by that much, "
        "unless the code is assembled for its address."
    ),
    shows=(
        "The other CPU raises #GP at its first far jump, finds no IDT, and its triple fault resets the machine: "
        "v=0d, then v=08, with CR0=60000011."
    ),
    fix=(
        "Store the table's physical address in the pointer (segment's base + offset), with a limit of its bytes - "
        "1."
    ),
    manual="Intel SDM volume 3A, 11.9.1 and 2.4.1; volume 2A, LGDT",
    check=_check,
    needs=TRACE,
)
