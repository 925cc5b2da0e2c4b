"""What code outside ring 0 may not execute."""

from __future__ import annotations

from enum import Enum
from typing import Any

from cr3scope.x86.platform import Platform, Quirk
from cr3scope.x86.registers import Registers

_ALWAYS = frozenset({"lgdt", "lidt", "lldt", "ltr", "lmsw", "clts", "hlt", "invlpg", "rdmsr", "wrmsr", "swapgs"})
_CACHES = frozenset({"invd", "wbinvd"})
_BY_IOPL = frozenset({"cli", "sti"})
_BY_BITMAP = frozenset({"in", "insb", "insw", "insd", "out", "outsb", "outsw", "outsd"})
_VIRTUAL_INTERRUPTS = 3  # CR4.VME and PVI


class May(Enum):
    """Whether an instruction may be executed where it stands."""

    YES = "yes"
    NO = "no"  # #GP(0), before it touches memory
    UNTOLD = "untold"  # the TSS tells, or virtual interrupts do


def may_execute(one: Any, now: Registers, cr4: int | None, platform: Platform) -> May:
    """Return whether the CPL lets an instruction through (SDM 3A, 6.9; of I/O and IF volume 1, 20.5). ``cr4``: None if nobody knows."""
    if not now.cpl:
        return May.YES
    name = one.mnemonic.rpartition(" ")[2]  # behind a repeat prefix
    if name in _ALWAYS or name == "mov" and _has_system_register(one):
        return May.NO
    if name in _CACHES:
        return May.YES if platform.has(Quirk.CACHES_UNCHECKED) else May.NO
    if name not in _BY_IOPL | _BY_BITMAP or now.does_io:
        return May.YES
    if name in _BY_BITMAP or cr4 is None or cr4 & _VIRTUAL_INTERRUPTS:
        return May.UNTOLD
    return May.NO


def _has_system_register(one: Any) -> bool:
    """Whether an operand is a control or debug register."""
    from capstone import x86

    return any(each.type == x86.X86_OP_REG and one.reg_name(each.reg)[:2] in ("cr", "dr") for each in one.operands)
