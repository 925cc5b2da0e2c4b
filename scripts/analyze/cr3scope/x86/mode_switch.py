"""The instructions that change what code is and what memory is: control registers, EFER, far jumps, descriptor tables.

Intel SDM volume 2A and 2B: MOV (control registers) 0F 22 /r, WRMSR 0F 30, JMP far EA and FF /5, LGDT 0F 01 /2, LIDT 0F 01 /3,
LTR 0F 00 /3, LMSW 0F 01 /6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from cr3scope.dataclass import dataclass

_REGISTERS = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")


class SwitchKind(Enum):
    """What an instruction changes, in the words of an assembler."""

    CR0 = "mov cr0"
    CR3 = "mov cr3"
    CR4 = "mov cr4"
    MSR = "wrmsr"
    FAR_JUMP = "ljmp"
    GDT = "lgdt"
    IDT = "lidt"
    TASK = "ltr"


@dataclass(frozen=True, slots=True)
class ModeSwitch:
    """One occurrence in code: where it begins, and which general register it loads from ("ax"), where it does so."""

    offset: int
    kind: SwitchKind
    register: str = ""


# Of a far jump's selector the upper byte: no GDT of a boot has so many descriptors.
_CODE = re.compile(
    rb"\x0f\x22(?P<control>[\xc0-\xc7\xd8-\xe7])|\x0f(?P<msr>\x30)|(?P<direct>\xea)[\x00-\xff]{4}[\x08-\xf8]\x00|(?P<indirect>\xff[\x28-\x2f\x68-\x6f\xa8-\xaf])"
    rb"|\x0f\x01(?P<table>[\x10-\x1f\x50-\x5f\x90-\x9f])|\x0f\x00(?P<task>[\x18-\x1f\x58-\x5f\x98-\x9f\xd8-\xdf])"
)
_CONTROL = {0: SwitchKind.CR0, 3: SwitchKind.CR3, 4: SwitchKind.CR4}  # by the register field of ModRM
_NAMED = {"msr": SwitchKind.MSR, "direct": SwitchKind.FAR_JUMP, "indirect": SwitchKind.FAR_JUMP, "task": SwitchKind.TASK}
_FIELD, _MODRM_REGISTER = 7, 3


def find_mode_switches(code: bytes, with_tables: bool) -> Iterator[ModeSwitch]:
    """Yield every place whose bytes are such an instruction; data may look like one, and a prefix may stand before it.

    ``with_tables``: LGDT, LIDT and LTR, too.
    """
    for match in _CODE.finditer(code):
        group = match.lastgroup or ""
        modrm = match[group][-1]
        if group == "control":
            yield ModeSwitch(match.start(), _CONTROL[modrm >> _MODRM_REGISTER & _FIELD], _REGISTERS[modrm & _FIELD])
        elif group in _NAMED and (group != "task" or with_tables):
            yield ModeSwitch(match.start(), _NAMED[group])
        elif group == "table" and with_tables:
            yield ModeSwitch(match.start(), SwitchKind.GDT if modrm >> _MODRM_REGISTER & 1 == 0 else SwitchKind.IDT)


def kind_of(mnemonic: str, destination: str) -> SwitchKind | None:
    """Return what a decoded instruction changes, by its name and its first operand's; None of any other instruction."""
    name = f"mov {destination}" if mnemonic == "mov" else "mov cr0" if mnemonic == "lmsw" else mnemonic
    return next((kind for kind in SwitchKind if kind.value == name), None)
