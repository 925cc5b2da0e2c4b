"""Two CPUs with one TSS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import TRACE, Context, Rule
from cr3scope.message import Hex, message
from cr3scope.paging.walk import walk
from cr3scope.target.standstill import waits_to_be_started
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.decode.instruction import LONGEST, can_decode, decode
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, Descriptor
from cr3scope.x86.exceptions import PROTECTION
from cr3scope.x86.mode import PROTECTED
from cr3scope.x86.word import MASK32


def _check(context: Context) -> Iterator[Finding]:
    """The kernel's own word, before each CPU's LTR."""
    owners: dict[int, int] = {}
    loaded: dict[int, int] = {}
    for task in context.boot.tasks:
        owners.pop(loaded.get(task.cpu, -1), None)  # a CPU that loads another leaves the first one free
        loaded[task.cpu] = task.phys
        owner = owners.setdefault(task.phys, task.cpu)
        if owner != task.cpu:
            yield RULE.finding(
                message("CPU {cpu} loads the TSS that CPU {other} has loaded", cpu=task.cpu, other=owner),
                message("TR={tr:02x}h, a TSS at phys {phys}; LTR refuses it where its descriptor is the one that CPU {other} has loaded",
                        tr=Hex(task.tr), phys=Hex(task.phys), other=owner),
            )  # fmt: skip
            return


def shared(cpus: Sequence[StoppedCpu]) -> Iterator[Finding]:
    """Yield a warning if two CPUs that stand have loaded one TSS: of one frame, whatever addresses they know it by."""
    loaded = [(cpu, task) for cpu in cpus if (task := _loaded(cpu)) is not None]
    for (one, first), (other, second) in combinations(loaded, 2):
        if first == second:
            yield RULE.finding(
                message("CPU {cpu} and CPU {other} have loaded the same TSS", cpu=one.number, other=other.number),
                message("TR of CPU {cpu} is {tr:02x}h with base {base}, that of CPU {other} {other_tr:02x}h with base {other_base}",
                        cpu=one.number, tr=Hex(one.segments["TR"].selector), base=Hex(one.segments["TR"].base), other=other.number,
                        other_tr=Hex(other.segments["TR"].selector), other_base=Hex(other.segments["TR"].base)),
                severity=Severity.WARNING,
            )  # fmt: skip
            return


def refused(cpu: StoppedCpu, fault: Fault, cpus: Sequence[StoppedCpu]) -> Finding | None:
    """Return why an LTR was refused, if its TSS is one that another CPU has loaded; else None."""
    if fault.vector != PROTECTION or not fault.error_code or fault.rip is None or not can_decode():
        return None
    one = decode(cpu.bytes_at(fault.rip, LONGEST), fault.rip, cpu.code_bits)
    value = cpu.descriptor(fault.error_code)
    if one is None or one.mnemonic != "ltr" or value is None or not Descriptor(value).is_busy_tss:
        return None
    descriptor, above = Descriptor(value), 0
    if cpu.mode is CpuMode.LONG:
        upper = cpu.descriptor(fault.error_code + DESCRIPTOR_BYTES)
        if upper is None:
            return None
        above = (upper & MASK32) << 32
    named = _frame(cpu, descriptor.base | above)
    other = next((each for each in cpus if each.number != cpu.number and named is not None and _loaded(each) == named), None)
    if other is None:
        return None
    return RULE.finding(
        message("CPU {cpu} loads TR with {tr:02x}h, the TSS that CPU {other} has loaded", cpu=cpu.number,
                tr=Hex(fault.error_code), other=other.number),
        message("ltr at {rip}; the descriptor {descriptor:#018x} is that of a busy TSS: LTR sets that bit, and takes none that has it",
                rip=Hex(fault.rip), descriptor=Hex(descriptor.value)),
    )  # fmt: skip


def _loaded(cpu: StoppedCpu) -> int | None:
    """Where the TSS of a CPU lies in memory; None if it has none."""
    task = cpu.segments.get("TR")
    if task is None or not task.selector or cpu.mode is CpuMode.REAL or waits_to_be_started(cpu.registers):
        return None
    return _frame(cpu, task.base)


def _frame(cpu: StoppedCpu, virt: int) -> int | None:
    return walk(cpu, cpu.cpu, virt, cpu.platform).phys


RULE = Rule(
    id="ap-shared-tss",
    title="two CPUs share a TSS",
    severity=Severity.ERROR,
    modes=PROTECTED,
    reason=(
        "The TSS names the stacks on which a CPU enters its handlers, from ring 3 and by IST. Two CPUs with one TSS push to one "
        "stack at the same time. LTR marks the descriptor as busy and refuses a busy one, so that only a copy of the "
        "descriptor, or a cleared busy bit, lets the second CPU come so far."
    ),
    shows=(
        "v=0d at the second CPU's ltr, e= its selector. With a copied descriptor nothing, until both take an exception at once: "
        "then returns to addresses that the other CPU pushed."
    ),
    fix="Give each CPU a TSS of its own, with stacks of its own, and a descriptor of its own: a GDT for each CPU, or one entry for each.",
    manual="Intel SDM volume 2A, LTR; volume 3A, 9.2.2, 9.7 and 7.14.5",
    check=_check,
    needs=TRACE,
)
