"""What comes after the `mov cr3` at the PC: the accesses that the code there will make, judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, replace

from cr3scope.dataclass import dataclass
from cr3scope.message import Hex, Message, message
from cr3scope.model.control_change import ControlChange, changed_to, control_change
from cr3scope.model.delivery import Delivery
from cr3scope.model.follow.course import OwnException, Space, Step, Why
from cr3scope.model.follow.follow import Path, follow
from cr3scope.model.interrupts import fatal_interrupt
from cr3scope.model.machine import Chain, carry
from cr3scope.model.role import Role
from cr3scope.model.written_memory import WrittenMemory
from cr3scope.paging.pdptes import refused_pdptes
from cr3scope.paging.walk import PageFault, Translation, access
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import new_cr3, switch_at_pc
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_mode import CpuMode, cpu_mode
from cr3scope.x86.cpu_state import EFER_LMA, USER, CpuState
from cr3scope.x86.decode.instruction import LONGEST, can_decode, decode, text
from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.ending import Ending
from cr3scope.x86.mov_cr3 import CR0_SWITCH, MOV_CR0_BYTES, mov_cr0_at
from cr3scope.x86.platform import Quirk
from cr3scope.x86.registers import Registers


@dataclass(frozen=True, slots=True)
class CodePrediction:
    """Under which tables, which accesses, and the first that faults with what becomes of it.

    ``veto`` is what the tables answer to the refused access; None where an instruction raises ``own``, or
    the switch itself is refused. ``interrupt``: what one that comes now would come to, if that is fatal.
    ``steps`` go on behind the refused one; ``end`` and ``why`` say why there are no further ones, ``count``
    how many instructions were followed, ``last`` the registers at the first one that was not. ``written``:
    by the code up to there. ``start``: the control registers where the way begins; ``state``, ``bits``: those and the code segment's size where it ends;
    ``loads``: of "gdt" and "idt" those that it has loaded.
    """

    cpu: CpuState
    steps: tuple[Step, ...]
    refused: Step | None
    fault: Fault | None
    chain: Chain | None
    end: Message
    why: Why
    last: Registers
    count: int = 0
    at_entry: Mapping[str, int | None] = field(default_factory=dict)
    written: WrittenMemory | None = None
    veto: PageFault | None = None
    own: OwnException | None = None
    interrupt: Chain | None = None
    start: CpuState | None = None
    state: CpuState | None = None
    bits: int = 64
    loads: frozenset[str] = frozenset()


def predict_code(now: StoppedCpu) -> CodePrediction:
    """Judge the code at the PC under the tables of the switch there, or under the current ones if there is no
    switch."""
    switch = switch_at_pc(now)
    if switch is None:
        return _behind_change(now) or judged(now, now.cpu, now.delivery_registers)
    cpu = replace(now.cpu, cr3=new_cr3(now))
    if cpu.cr3_reserved:
        return _refused_cr3(now, cpu)
    wrong = refused_pdptes(now, cpu, now.platform)
    if wrong:
        return _behind_change(now) or judged(now, now.cpu, now.delivery_registers)
    after = replace(now.delivery_registers, rip=now.rip + switch.length)
    return judged(now, cpu, after)


def _behind_change(now: StoppedCpu) -> CodePrediction | None:
    """The code behind a change of CR0, CR4 or EFER at the PC, in the mode that it makes; None if there is none."""
    found = _change(now)
    if found is None:
        return None
    change, words, size = found
    registers = now.delivery_registers
    if change.refused is not None:
        own = OwnException(change.refused, words, registers)
        return _raised(now, now.cpu, own, Path((), Message("the instruction is refused"), Why.REFUSED, {}, 0, registers, {}, own), None)
    mode = cpu_mode(change.cpu.cr0, change.cpu.efer)
    if now.code_bits == 64 and mode is not CpuMode.LONG:
        now = replace(now, code_bits=32)
    return judged(now, change.cpu, replace(registers, rip=now.rip + size, mode=mode))


def _change(now: StoppedCpu) -> tuple[ControlChange, str, int] | None:
    """What the instruction at the PC changes, the instruction in words, and its length; without a decoder a mov to CR0 alone."""
    code = now.bytes_at(now.pc, LONGEST)
    if not can_decode():
        register = mov_cr0_at(code)
        if register is None:
            return None
        new = now.registers.get(register.upper(), 0)
        return changed_to("cr0", new, now.code_bits, now.cpu, now, now.platform), f"{CR0_SWITCH}, {register}", MOV_CR0_BYTES
    one = decode(code, now.rip, now.code_bits) if code else None
    if one is None:
        return None
    change = control_change(one, KnownRegisters(now.general).get, now.cpu, now, now.platform)
    return None if change is None else (change, text(one), one.size)


def if_page_faulted(now: StoppedCpu, seen: CodePrediction) -> Chain:
    """Return what a page fault would come to where the way ends."""
    return _chain(now, seen.cpu, exceptions.PAGE_FAULT, seen.last, seen.written)


def outcome(now: StoppedCpu, cpu: CpuState, vector: int, registers: Registers) -> Chain:
    """Return what an exception with these registers comes to under the tables of ``cpu``."""
    if registers.mode is CpuMode.LONG and registers.cpl:
        return Chain(None, (Message("from user mode the CPU changes to the stack of the TSS: not predicted"),))
    return carry(Delivery(now, cpu, now, now.platform), vector, registers)


def judged(now: StoppedCpu, cpu: CpuState, registers: Registers) -> CodePrediction:
    """Follow the code at ``registers.rip``, whose bytes are read through ``cpu``'s tables, and judge its accesses."""
    space = Space(now, lambda state: _code(now.with_state(state)), lambda state: _data(now.with_state(state)))
    path = follow(
        _code(now.with_state(cpu)), now.general, registers, now.code_bits, cpu, now.platform, space, data=_data(now.with_state(cpu))
    )
    written = WrittenMemory(now, cpu)
    reached: dict[object, PageFault | Translation] = {}  # code in a loop makes the same access again and again
    for number, step in enumerate(path.steps):
        if written.map(step.virt):
            path = _cut(path, number)
            break
        under = step.cpu or cpu
        alike = under, step.virt, step.kind, step.registers.cpl == USER, step.width, step.role.is_descriptor
        if alike not in reached:
            reached[alike] = reach(now, under, step)
        found = reached[alike]
        if isinstance(found, PageFault):
            fault = _fault(now, under, step, found)
            at = replace(step.registers, rip=fault.rip or step.registers.rip)
            chain = _chain(now, under, fault.vector, at, written)
            return replace(_predicted(path, under, step, fault, chain), veto=found, start=cpu)
        written.note(step)
    if path.stop is not None:
        return replace(_raised(now, path.cpu or cpu, path.stop, path, written), start=cpu)
    return replace(_predicted(path, cpu), start=cpu, written=written, interrupt=fatal_interrupt(now, cpu, registers))


def _raised(now: StoppedCpu, cpu: CpuState, own: OwnException, path: Path, written: WrittenMemory | None) -> CodePrediction:
    """The way up to an instruction that raises an exception by itself."""
    at = own.registers
    step = Step(Role.INSTRUCTION, at.pc, AccessKind.FETCH, 1, at, at.rip)
    fault = Fault(own.refused.vector, own.refused.error_code, None, at.rip, cpu.cr3)
    path = replace(path, steps=(*path.steps, step))
    chain = _chain(now, cpu, fault.vector, at, written)
    return replace(_predicted(path, cpu, step, fault, chain), own=own)


def _predicted(
    path: Path, cpu: CpuState, refused: Step | None = None, fault: Fault | None = None,
    chain: Chain | None = None,
) -> CodePrediction:  # fmt: skip
    return CodePrediction(
        cpu, path.steps, refused, fault, chain, path.end, path.why, path.last, path.count, path.at_entry,
        state=path.cpu, bits=path.bits, loads=path.loads,
    )


def _cut(path: Path, number: int) -> Path:
    """The way up to a step that goes through tables which the code has written before."""
    step, before = path.steps[number], path.steps[:number]
    end = message("the tables that map {virt} are written on the way", virt=Hex(step.virt))
    return replace(
        path, steps=before, end=end, why=Why.UNTOLD, last=replace(step.registers, rip=step.by), count=step.done,
        at_entry=path.at_entry if any(one.role is Role.ENTRY for one in before) else {}, stop=None,
    )  # fmt: skip


def _chain(
    now: StoppedCpu, cpu: CpuState, vector: int, at: Registers, written: WrittenMemory | None
) -> Chain:
    if written is not None and written.hold_descriptors(at):
        return Chain(None, (Message("the IDT or the GDT is written on the way: what comes of it is not told"),))
    return outcome(now, cpu, vector, at)


def reach(now: StoppedCpu, cpu: CpuState, step: Step) -> PageFault | Translation:
    """Return where a step's access leads, or the fault that it raises.

    Descriptor tables are reached for by the CPU itself, whatever the CPL (SDM 3A, 5.6).
    """
    return access(
        now, cpu, step.virt, step.kind, step.registers.cpl == USER, step.width,
        step.role.is_descriptor, platform=now.platform,
    )  # fmt: skip


def _code(under: StoppedCpu) -> Callable[[int, int], bytes | None]:
    return lambda virt, count: under.bytes_at(virt, count) or None


def _data(under: StoppedCpu) -> Callable[[int, int], bytes | None]:
    return lambda virt, count: under.data_at(virt, count) or None


def _fault(now: StoppedCpu, cpu: CpuState, step: Step, found: PageFault) -> Fault:
    vector, rip = found.vector, step.registers.rip
    if vector == exceptions.PROTECTION:
        if step.role.is_stack:
            if not now.platform.has(Quirk.STACK_PROTECTION):
                vector = exceptions.STACK_FAULT
        elif step.kind is AccessKind.FETCH and not now.platform.has(Quirk.JUMP_THEN_FAULT):
            rip = step.by
    is_fetch = step.kind is AccessKind.FETCH
    return Fault(vector, found.error_code, found.cr2, rip, cpu.cr3, is_fetch=is_fetch, in_long_mode=bool(cpu.efer & EFER_LMA))


def _refused_cr3(now: StoppedCpu, cpu: CpuState) -> CodePrediction:
    registers = now.delivery_registers
    step = Step(Role.SWITCH, now.rip, AccessKind.FETCH, 1, registers, now.rip)
    fault = Fault(exceptions.PROTECTION, 0, None, now.rip, now.cpu.cr3)
    if now.platform.has(Quirk.RESERVED_CR3_HANGS):
        words = Message("QEMU's TCG raises no exception: it executes the mov again and again")
        chain = Chain(Ending.HANG, (words,))
    else:
        chain = outcome(now, now.cpu, fault.vector, registers)
    return CodePrediction(cpu, (step,), step, fault, chain, Message("the switch is refused"), Why.REFUSED, registers)
