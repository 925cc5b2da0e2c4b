"""A far jump of other CPUs names the wrong segment."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.model.ap_start import ApStart
from cr3scope.model.follow.segment_load import outside
from cr3scope.model.role import Role
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, Descriptor
from cr3scope.x86.mode import LONG


def _check(context: Context) -> Iterator[Finding]:
    start = context.facts.ap_start
    if start is None:
        return
    own, wrong = start.seen.own, _entered_in_long_mode(start)
    if own is not None and own.instruction.startswith("ljmp") and own.refused.error_code:
        if outside(own.refused.error_code, own.registers.gdt_limit) is not None:
            return  # the table is wrong, not the jump
        yield RULE.finding(
            message("the far jump of the other CPUs at {virt}: {why}", virt=Hex(own.registers.pc), why=own.refused.why),
            message("{instruction}; GDT at {gdt}, limit {limit:x}h", instruction=own.instruction,
                    gdt=Hex(own.registers.gdt_base), limit=Hex(own.registers.gdt_limit)),
        )  # fmt: skip
    elif wrong is not None and wrong.is_code and wrong.code_bits != 64 and start.seen.bits != 64:  # another jump may follow
        yield RULE.finding(
            message("the far jump of the other CPUs in long mode leads to {bits}-bit code: {descriptor:#018x}",
                    bits=wrong.code_bits, descriptor=Hex(wrong.value)),
            message("its descriptor has no L: what follows is decoded as code of compatibility mode"),
        )  # fmt: skip


def _entered_in_long_mode(start: ApStart) -> Descriptor | None:
    """The first descriptor that is read under paging, which is that of the far jump into 64-bit code."""
    step = next((one for one in start.seen.steps if one.cpu is not None and one.role is Role.GDT_READ), None)
    if step is None or step.cpu is None or step.registers.mode is not CpuMode.LONG:
        return None
    found = start.now.with_state(step.cpu).bytes_at(step.virt, DESCRIPTOR_BYTES)
    return Descriptor(int.from_bytes(found, "little")) if len(found) == DESCRIPTOR_BYTES else None


RULE = Rule(
    id="ap-far-jump",
    title="a far jump of the other CPUs names the wrong segment",
    severity=Severity.ERROR,
    modes=LONG,
    reason=(
        "The mode that code is decoded in is that of its segment: after CR0.PE a far jump to a 32-bit code "
        "segment leaves 16-bit code, after CR0.PG one to a segment with L (and without D) enters 64-bit code. A "
        "data segment is refused; a code segment of another size is taken, and the bytes are decoded as something "
        "else."
    ),
    shows=(
        "#GP with the selector as error code (v=0d) on the other CPU; or anything, where 48h is `dec eax` and no "
        "REX prefix."
    ),
    fix=(
        "Jump through a code segment with D set and L clear into 32-bit code, and with L set and D clear into "
        "64-bit code."
    ),
    manual="Intel SDM volume 3A, 3.4.5, 11.9.1 and 11.8.5; volume 2A, JMP",
    check=_check,
    needs=TRACE,
)
