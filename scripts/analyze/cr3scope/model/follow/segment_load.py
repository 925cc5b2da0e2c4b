"""What the CPU makes of a selector that code at CPL 0 loads (Intel SDM volume 3A, 3.4.5 and 6.5).

Volume 2A, MOV, and volume 2B, RET, IRET, JMP, LTR: which descriptor each register takes, and which
exception refuses the others. tests/gdb/test_gdb_model.py holds it against QEMU's TCG, which differs in
three places: LTR takes a null selector, a code segment may have L and D both set, and IRET raises #NP
for a stack segment that is not present.
"""

from __future__ import annotations


from cr3scope.dataclass import dataclass
from cr3scope.message import Hex, Message, message
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, RPL, Descriptor, descriptor_offset
from cr3scope.x86.exceptions import NOT_PRESENT, PROTECTION, STACK_FAULT
from cr3scope.x86.platform import Platform, Quirk

STACK, TASK, CODE = "ss", "tr", "cs"
OUTER_CODE = "cs of an outer ring"
_NO_TASK = {True: "no available 64-bit TSS: {descriptor:#018x}", False: "no available TSS: {descriptor:#018x}"}  # in long mode


@dataclass(frozen=True, slots=True)
class Refused:
    """The exception, and why it is raised; ``rule``: of the mistake that this is, "" of any other, ``entry``: the one to
    blame, if there is one."""

    vector: int
    error_code: int | None
    why: Message
    rule: str = ""
    entry: EntryRef | None = None


def outside(selector: int, limit: int) -> Refused | None:
    """Return the refusal of a selector whose descriptor the GDT, with this limit, does not hold; None if it does."""
    if descriptor_offset(selector) + DESCRIPTOR_BYTES - 1 <= limit:
        return None
    return _protection(selector, message("outside the GDT, whose limit is {limit}", limit=Hex(limit)))


def null_refused(register: str, in_64_bit: bool, platform: Platform) -> Refused | None:
    """Return the refusal of a null selector, None if ``register`` takes it: data segments do, SS in 64-bit mode."""
    if register == TASK and platform.has(Quirk.NULL_TASK):
        return None
    if register in (CODE, TASK) or (register == STACK and not in_64_bit):
        return Refused(PROTECTION, 0, message("{register} takes no null selector", register=register.upper()))
    return None


def refused(register: str, selector: int, found: Descriptor, platform: Platform, mode: CpuMode) -> Refused | None:
    """Return the refusal of a selector for ``register``, None if it can be loaded.

    Registers are ``cs`` (by a far transfer to the same privilege), ``OUTER_CODE`` (``cs`` by a return to less), ``ss``, ``ds``
    to ``gs``, ``tr``.
    """
    if register == CODE:
        return _code(selector, found, platform, mode)
    if register == OUTER_CODE:
        return _outer_code(selector, found, platform, mode)
    if register == STACK:
        return _stack(selector, found)
    if register == TASK:
        if not found.is_available_tss and (mode is CpuMode.LONG or not found.is_available_small_tss):
            return _protection(selector, _unfit(_NO_TASK[mode is CpuMode.LONG], found))
        return _present(NOT_PRESENT, selector, found)
    if not found.takes_reads:
        return _protection(selector, _unfit("no segment that can be read: {descriptor:#018x}", found))
    if not found.conforming and selector & RPL > found.dpl:
        why = message("RPL {rpl} is above DPL {dpl}", rpl=selector & RPL, dpl=found.dpl)
        return _protection(selector, why)
    return _present(NOT_PRESENT, selector, found)


def _code(selector: int, found: Descriptor, platform: Platform, mode: CpuMode) -> Refused | None:
    if not found.is_code:
        return _protection(selector, _unfit("no code segment: {descriptor:#018x}", found))
    if not found.conforming and found.dpl:
        return _protection(selector, message("DPL {dpl}, at CPL 0", dpl=found.dpl))
    if not found.present:
        return _present(NOT_PRESENT, selector, found)
    if mode is CpuMode.LONG and found.has_reserved_size and not platform.has(Quirk.LONG_AND_DEFAULT):
        return _protection(selector, _unfit("L and D both set: {descriptor:#018x}", found))
    return None


def _outer_code(selector: int, found: Descriptor, platform: Platform, mode: CpuMode) -> Refused | None:
    """Volume 2A, IRET, and 2B, RET: to a ring that the RPL names."""
    if not found.is_code:
        return _protection(selector, _unfit("no code segment: {descriptor:#018x}", found))
    ring = selector & RPL
    if found.dpl > ring or found.dpl < ring and not found.conforming:
        return _protection(selector, message("of DPL {dpl}, and its RPL is {rpl}", dpl=found.dpl, rpl=ring))
    if not found.present:
        return _present(NOT_PRESENT, selector, found)
    if mode is CpuMode.LONG and found.has_reserved_size and not platform.has(Quirk.LONG_AND_DEFAULT):
        return _protection(selector, _unfit("L and D both set: {descriptor:#018x}", found))
    return None


def _stack(selector: int, found: Descriptor) -> Refused | None:
    if not found.takes_writes:
        return _protection(selector, _unfit("no segment that can be written: {descriptor:#018x}", found))
    if selector & RPL or found.dpl:
        why = message("RPL {rpl} and DPL {dpl}, at CPL 0", rpl=selector & RPL, dpl=found.dpl)
        return _protection(selector, why)
    return _present(STACK_FAULT, selector, found)


def _present(vector: int, selector: int, found: Descriptor) -> Refused | None:
    return None if found.present else Refused(vector, selector & ~RPL, _of(selector, Message("not present")))


def _protection(selector: int, why: Message) -> Refused:
    return Refused(PROTECTION, selector & ~RPL, _of(selector, why))


def _unfit(template: str, found: Descriptor) -> Message:
    return message(template, descriptor=Hex(found.value))


def _of(selector: int, why: Message) -> Message:
    return message("selector {selector:02x}h is {why}", selector=Hex(selector), why=why)
