"""What a mov to a control register, or a wrmsr to EFER, makes of the CPU's state, and when it is refused.

Intel SDM volume 2B, MOV (control registers) and WRMSR; volume 3A, 2.5, 5.1.2, 5.4.1 and 11.8.5. Of reserved bits only those
are asked about that decide how addresses are translated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cr3scope.dataclass import dataclass
from cr3scope.message import Hex, Message, message
from cr3scope.model.follow.segment_load import Refused
from cr3scope.paging.pdptes import refused_pdptes
from cr3scope.paging.tables import Tables
from cr3scope.x86.cpu_state import (
    CR0_PE,
    CR0_PG,
    CR3_PCID,
    CR4_LA57,
    CR4_PAE,
    CR4_PCIDE,
    EFER_LMA,
    EFER_LME,
    CpuState,
    PagingMode,
)
from cr3scope.x86.exceptions import PROTECTION
from cr3scope.x86.mov_cr3 import NO_FLUSH
from cr3scope.x86.platform import Platform, Quirk
from cr3scope.x86.word import MASK32

EFER = 0xC0000080  # the MSR
CONTROL = ("cr0", "cr3", "cr4")
REGISTER = 1  # capstone's type of such an operand
_MACHINE_STATUS = 0xE  # MP, EM and TS, which LMSW loads; PE it can but set (SDM 2A, LMSW)
Value = Callable[[str], "int | None"]  # of a general register by name


@dataclass(frozen=True, slots=True)
class ControlChange:
    """The state behind the instruction; ``refused``: the exception that it raises instead."""

    cpu: CpuState
    refused: Refused | None = None


def control_change(one: Any, value: Value, cpu: CpuState, tables: Tables | None, platform: Platform) -> ControlChange | None:
    """Return what a decoded instruction changes of the control registers.

    None if it changes none of CR0, CR3, CR4 and EFER, or to a value that is not known. ``tables``: memory, from which a
    CPU in PAE paging loads its PDPTEs; None if nobody has it.
    """
    told = _told(one, value, cpu)
    return None if told is None else changed_to(*told, one.bits, cpu, tables, platform)


def changed_to(name: str, new: int, bits: int, cpu: CpuState, tables: Tables | None, platform: Platform) -> ControlChange:
    """Return what becomes of the state when ``name`` (cr0, cr3, cr4 or efer) is set to ``new``, in code of ``bits`` bits."""
    if name == "efer":
        refused = None
        if cpu.cr0 & CR0_PG and (new ^ cpu.efer) & EFER_LME and not platform.has(Quirk.LONG_MODE_UNCHECKED):
            refused = _general("EFER.LME cannot change while CR0.PG is set")
        return ControlChange(replace(cpu, efer=new & ~EFER_LMA | cpu.efer & EFER_LMA), refused)
    if name == "cr3":
        after = replace(cpu, cr3=new & ~NO_FLUSH if cpu.cr4 & CR4_PCIDE else new)
        return _checked(replace(cpu, cr3=new), after, tables, platform)
    return _cr0(new, cpu, bits, tables, platform) if name == "cr0" else _cr4(new, cpu, tables, platform)


def _told(one: Any, value: Value, cpu: CpuState) -> tuple[str, int] | None:
    if one.mnemonic == "wrmsr":
        low, high = value("eax"), value("edx")
        known = value("ecx") == EFER and low is not None and high is not None
        return ("efer", (high or 0) << 32 | (low or 0)) if known else None
    if one.mnemonic == "lmsw" and one.operands[0].type == REGISTER:
        word = value(one.reg_name(one.operands[0].reg))
        return None if word is None else ("cr0", cpu.cr0 & ~_MACHINE_STATUS | word & (_MACHINE_STATUS | CR0_PE))
    if one.mnemonic != "mov" or len(one.operands) != 2:
        return None
    target, source = (one.reg_name(operand.reg) if operand.type == REGISTER else "" for operand in one.operands)
    new = value(source) if target in CONTROL else None
    return None if new is None else (target, new)


def _cr0(new: int, cpu: CpuState, bits: int, tables: Tables | None, platform: Platform) -> ControlChange:
    efer = cpu.efer
    if new & CR0_PG and not new & CR0_PE:
        after = replace(cpu, cr0=new)
        if platform.has(Quirk.PAGING_UNCHECKED):
            return ControlChange(after)
        return ControlChange(after, _general("CR0.PG is set and CR0.PE is not", "paging-without-pe"))
    if new & CR0_PG and not cpu.cr0 & CR0_PG and efer & EFER_LME:
        if not cpu.cr4 & CR4_PAE:
            if platform.has(Quirk.PAGING_UNCHECKED):
                return ControlChange(cpu)
            return ControlChange(cpu, _general("EFER.LME is set and CR4.PAE is not: CR0.PG cannot be set", "long-mode-off"))
        efer |= EFER_LMA
    elif not new & CR0_PG:
        if cpu.cr0 & CR0_PG and bits == 64 and not platform.has(Quirk.LONG_MODE_UNCHECKED):
            return ControlChange(cpu, _general("CR0.PG cannot be cleared in 64-bit code"))
        efer &= ~EFER_LMA
    after = replace(cpu, cr0=new, efer=efer)
    turns_on = new & CR0_PG and not cpu.cr0 & CR0_PG
    return _checked(after, after, tables, platform) if turns_on else ControlChange(after)


def _cr4(new: int, cpu: CpuState, tables: Tables | None, platform: Platform) -> ControlChange:
    after, changed = replace(cpu, cr4=new), new ^ cpu.cr4
    in_long_mode = cpu.efer & EFER_LMA
    if in_long_mode and changed & CR4_PAE and not platform.has(Quirk.LONG_MODE_UNCHECKED):
        return ControlChange(after, _general("CR4.PAE cannot be cleared in long mode"))
    if in_long_mode and changed & CR4_LA57:
        return ControlChange(after, _general("CR4.LA57 cannot change in long mode"))
    if changed & new & CR4_PCIDE and (not in_long_mode or cpu.cr3 & CR3_PCID):
        return ControlChange(after, _general("CR4.PCIDE is set outside long mode, or with CR3[11:0] not 0", "pcide-order"))
    return _checked(after, after, tables, platform) if changed & CR4_PAE and cpu.cr0 & CR0_PG else ControlChange(after)


def _checked(loads: CpuState, after: CpuState, tables: Tables | None, platform: Platform) -> ControlChange:
    """What a load of CR3, or one that turns PAE paging on, compares (SDM 3A, 5.4.1)."""
    if loads.cr3_reserved and not loads.has_short_addresses:
        return ControlChange(after, _general("reserved bits of CR3 are set", "cr3-high-bits"))
    if after.paging_mode is PagingMode.PAE and tables is not None:
        wrong = refused_pdptes(tables, after, platform)
        if wrong:
            why = message("{entry} has reserved bits set: {value:#018x}", entry=wrong[0], value=Hex(wrong[0].value))
            return ControlChange(after, Refused(PROTECTION, 0, why, "reserved-bits", wrong[0]))
    if after.paging_mode in (PagingMode.BITS_32, PagingMode.PAE) and after.cr3 > MASK32:
        after = replace(after, cr3=after.cr3 & MASK32)
    return ControlChange(after)


def _general(why: str, rule: str = "") -> Refused:
    return Refused(PROTECTION, 0, Message(why), rule)
