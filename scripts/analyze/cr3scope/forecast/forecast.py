"""What comes after the `mov cr3` at the PC: the accesses that the code there will make, judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from cr3scope import exceptions
from cr3scope.capture.records import AccessKind
from cr3scope.forecast.depth import other_depth
from cr3scope.forecast.interrupts import fatal_interrupt
from cr3scope.forecast.stopped_cpu import StoppedCpu
from cr3scope.forecast.switch import new_cr3, switch_at_pc
from cr3scope.forecast.written import WrittenMemory
from cr3scope.paging.cpu import CpuState
from cr3scope.paging.platform import Platform, Quirk
from cr3scope.paging.walk import PageFault, Translation, access
from cr3scope.postmortem.page_fault_cause import page_fault_cause
from cr3scope.predict.code.course import OwnException, Step, Why
from cr3scope.predict.delivery import Delivery, Registers
from cr3scope.predict.code.follow import Path, follow
from cr3scope.predict.machine import Chain, carry
from cr3scope.predict.code.segment_steps import GDT_READ, GDT_WRITE
from cr3scope.rules import BY_ID
from cr3scope.verdict import Ending, Fault, Finding

_RPL = 3


@dataclass(frozen=True, slots=True)
class Forecast:
    """Under which tables, which accesses, and the first that faults with what becomes of it.

    A finding without a fault: an interrupt that comes now would be fatal. ``steps`` go on behind the
    refused one; ``end`` and ``why`` say why there are no further ones, ``count`` how many instructions
    were followed, ``last`` the registers at the first one that was not. ``written``: by the code up to
    there.
    """

    cpu: CpuState
    steps: tuple[Step, ...]
    refused: Step | None
    fault: Fault | None
    findings: tuple[Finding, ...]
    chain: Chain | None
    end: str
    why: Why
    last: Registers
    count: int = 0
    at_entry: Mapping[str, int | None] = field(default_factory=dict)
    written: WrittenMemory | None = None


def forecast(now: StoppedCpu) -> Forecast:
    """Judges the tables of the switch at the PC, or the current ones if there is no switch."""
    switch = switch_at_pc(now)
    if switch is None:
        return judged(now, now.cpu, now.delivery_registers)
    cpu = replace(now.cpu, cr3=new_cr3(now))
    if cpu.cr3_reserved:
        return _refused_cr3(now, cpu)
    after = replace(now.delivery_registers, rip=now.rip + switch.length)
    return judged(now, cpu, after)


def if_page_faulted(now: StoppedCpu, seen: Forecast) -> Chain:
    """What a page fault would come to where the way ends."""
    return _chain(now, seen.cpu, exceptions.PAGE_FAULT, seen.last, seen.written)


def outcome(now: StoppedCpu, cpu: CpuState, vector: int, registers: Registers) -> Chain:
    """What an exception with these registers comes to under the tables of ``cpu``."""
    if registers.cs & _RPL:
        return Chain(None, ("from user mode the CPU changes to the stack of the TSS: not predicted",))
    return carry(Delivery(now, cpu, now, now.platform), vector, registers)


def judged(now: StoppedCpu, cpu: CpuState, registers: Registers) -> Forecast:
    """The code at ``registers.rip``; its bytes are read through ``cpu``'s tables."""
    path = follow(_reader(now.under(cpu.cr3)), now.general, registers, now.code_bits, cpu, now.platform)
    written = WrittenMemory(now, cpu)
    for number, step in enumerate(path.steps):
        if written.map(step.virt):
            path = _cut(path, number)
            break
        found = reach(now, cpu, step)
        if isinstance(found, PageFault):
            fault = _fault(now, cpu, step, found)
            at = replace(step.registers, rip=fault.rip or step.registers.rip)
            chain = _chain(now, cpu, fault.vector, at, written)
            return _forecast(path, cpu, step, fault, _findings(now, cpu, at, step, fault), chain)
        written.note(step)
    if path.stop is not None:
        own, at = path.stop, path.stop.registers
        step = Step("instruction", at.rip, AccessKind.FETCH, 1, at, at.rip)
        fault = Fault(own.refused.vector, own.refused.error_code, None, at.rip, cpu.cr3)
        path = replace(path, steps=(*path.steps, step))
        chain = _chain(now, cpu, fault.vector, at, written)
        return _forecast(path, cpu, step, fault, (_own_exception(own),), chain)
    fatal = fatal_interrupt(now, cpu, registers)
    seen = _forecast(path, cpu, findings=() if fatal is None else (fatal,))
    return replace(seen, written=written)


def _forecast(
    path: Path, cpu: CpuState, refused: Step | None = None, fault: Fault | None = None,
    findings: tuple[Finding, ...] = (), chain: Chain | None = None,
) -> Forecast:  # fmt: skip
    return Forecast(
        cpu, path.steps, refused, fault, findings, chain, path.end, path.why, path.last, path.count, path.at_entry
    )


def _cut(path: Path, number: int) -> Path:
    """The way up to a step that goes through tables which the code has written before."""
    step, before = path.steps[number], path.steps[:number]
    end = f"the tables that map {step.virt:#x} are written on the way"
    return replace(
        path, steps=before, end=end, why=Why.UNTOLD, last=replace(step.registers, rip=step.by), count=step.done,
        at_entry=path.at_entry if any(one.name == "entry" for one in before) else {}, stop=None,
    )  # fmt: skip


def _chain(
    now: StoppedCpu, cpu: CpuState, vector: int, at: Registers, written: WrittenMemory | None
) -> Chain:
    if written is not None and written.hold_descriptors(at):
        return Chain(None, ("the IDT or the GDT is written on the way: what comes of it is not told",))
    return outcome(now, cpu, vector, at)


def reach(now: StoppedCpu, cpu: CpuState, step: Step) -> PageFault | Translation:
    """A step's access, judged. Descriptor tables are reached for by the CPU itself, whatever the CPL (SDM 3A, 5.6)."""
    return access(
        now, cpu, step.virt, step.kind, bool(step.registers.cs & _RPL == _RPL), step.width,
        step.name in (GDT_READ, GDT_WRITE), platform=now.platform,
    )  # fmt: skip


def _own_exception(own: OwnException) -> Finding:
    why = f"{own.instruction}: {own.refused.why}"
    return BY_ID["instruction-refused"].finding(why, f"RIP={own.registers.rip:#x}")


def _reader(under: StoppedCpu) -> Callable[[int, int], bytes | None]:
    return lambda virt, count: under.bytes_at(virt, count) or None


def _fault(now: StoppedCpu, cpu: CpuState, step: Step, found: PageFault) -> Fault:
    vector, rip = found.vector, step.registers.rip
    if vector == exceptions.PROTECTION:
        if step.name.startswith("stack"):
            if not now.platform.has(Quirk.STACK_PROTECTION):
                vector = exceptions.STACK_FAULT
        elif step.kind is AccessKind.FETCH and not now.platform.has(Quirk.JUMP_THEN_FAULT):
            rip = step.by
    return Fault(vector, found.error_code, found.cr2, rip, cpu.cr3)


def _findings(
    now: StoppedCpu, cpu: CpuState, at: Registers, step: Step, fault: Fault
) -> tuple[Finding, ...]:
    """The package's rules name the cause as they do for a guest that has died there."""
    if fault.vector != exceptions.PAGE_FAULT:
        title = f"the {step.name} at {step.virt:#x} is not canonical"
        return (BY_ID["non-canonical"].finding(title, f"RIP={fault.rip or 0:#x}"),)
    depth = tuple(other_depth(now, cpu, step))
    if depth:
        return depth
    registers = {**now.registers, "RIP": at.rip, "RSP": at.rsp, "CR3": fault.cr3 or 0}
    return tuple(page_fault_cause(replace(now, registers=registers), fault))


def _refused_cr3(now: StoppedCpu, cpu: CpuState) -> Forecast:
    registers = now.delivery_registers
    step = Step("mov cr3", now.rip, AccessKind.FETCH, 1, registers, now.rip)
    fault = Fault(exceptions.PROTECTION, 0, None, now.rip, now.cpu.cr3)
    finding = BY_ID["cr3-high-bits"].finding(
        f"mov cr3 at {now.rip:#x} loads {cpu.cr3:#x}: reserved bits {cpu.cr3_reserved:#x}",
        f"physical addresses have {cpu.max_phys_bits} bits here",
    )
    if now.platform.has(Quirk.RESERVED_CR3_HANGS):
        words = ("QEMU's TCG raises no exception: it executes the mov again and again",)
        chain = Chain(Ending.HANG, words)
    else:
        chain = outcome(now, now.cpu, fault.vector, registers)
    return Forecast(cpu, (step,), step, fault, (finding,), chain, "the switch is refused", Why.REFUSED, registers)
