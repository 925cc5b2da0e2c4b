"""The `mov cr3` at the PC."""

from __future__ import annotations

from cr3scope.errors import UnusableInput
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.cpu_state import CR0_PG
from cr3scope.x86.decode.instruction import LONGEST as LONGEST_INSTRUCTION
from cr3scope.x86.decode.instruction import can_decode, decode
from cr3scope.x86.mode_switch import SwitchKind, kind_of
from cr3scope.x86.mov_cr3 import LONGEST, MovCr3, mov_cr0_at, mov_cr3_at

NO_SWITCH = "no mov cr3 at the PC"


def switch_at_pc(now: StoppedCpu) -> MovCr3 | None:
    """Return the switch that the guest is about to make; None if the PC is elsewhere."""
    return mov_cr3_at(now.bytes_at(now.pc, LONGEST), now.code_bits)


def mode_switch_at_pc(now: StoppedCpu) -> SwitchKind | None:
    """Return what the instruction at the PC changes of the CPU's mode; None if it changes nothing."""
    return mode_switch_at(now, now.pc, now.code_bits)


def mode_switch_at(now: StoppedCpu, virt: int, bits: int) -> SwitchKind | None:
    """Return the same of the instruction at an address, as code of a segment of so many bits."""
    code = now.bytes_at(virt, LONGEST_INSTRUCTION)
    one = decode(code, virt, bits) if code and can_decode() else None
    if one is None:
        return None
    first = one.op_str.partition(",")[0].strip()
    return kind_of(one.mnemonic, first)


def turns_paging_on(now: StoppedCpu) -> bool:
    """Return whether the guest is about to execute a mov to CR0 that sets PG, outside 64-bit mode."""
    register = mov_cr0_at(now.bytes_at(now.pc, LONGEST))
    return register is not None and bool(now.registers.get(register.upper(), 0) & CR0_PG) and not now.cpu.cr0 & CR0_PG


def new_cr3(now: StoppedCpu) -> int:
    """Return the value that the switch at the PC will load; UnusableInput if the PC is elsewhere."""
    switch = switch_at_pc(now)
    if switch is None:
        raise UnusableInput(f"{NO_SWITCH} {now.rip:#x}: see `cr3scope break`")
    return now.registers.get(switch.register.upper(), 0)
