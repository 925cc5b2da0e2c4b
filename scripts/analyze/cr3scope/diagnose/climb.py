"""What went wrong on the way from real mode to long mode, told from the paused machine: the mode itself, not one entry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.facts.long_mode_off import long_mode_off
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.rules.descriptors import table_pointer_short
from cr3scope.diagnose.rules.processors import ap_gdt_pointer
from cr3scope.diagnose.rules.switch import cr3_truncated
from cr3scope.message import Hex, Message, message
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import Fault
from cr3scope.x86.decode.instruction import LONGEST, can_decode, decode, text
from cr3scope.x86.descriptors import DESCRIPTOR_BYTES, RPL, Descriptor

_REX_W = range(0x48, 0x50)
_MOST_DESCRIPTORS = 64
_AROUND = 96  # bytes to each side
_SOME_PREFIXES, _MANY_PREFIXES = 2, 4  # `dec` before such an opcode is rare in 32-bit code
# REX.W, and an opcode of two operands with its ModRM (SDM volume 2A, 2.2.1.2): add, or, and, sub, xor, cmp, test, mov, lea, ...
_WIDE = re.compile(rb"[\x48\x49\x4c\x4d][\x01\x03\x09\x0b\x21\x23\x29\x2b\x31\x33\x39\x3b\x63\x81\x83\x85\x89\x8b\x8d\xc1\xc7]")


def climb_causes(
    now: StoppedCpu, fault: Fault | None, at_fault: Mapping[str, int], others: Sequence[StoppedCpu] = ()
) -> Iterator[Finding]:
    """Yield what is wrong with the mode that a dead CPU is in; nothing of one that came where it wanted.

    ``at_fault``: its registers then, as far as they are known. QmpError if QEMU stops answering.
    """
    yield from long_mode_off(now, at_fault)
    yield from cr3_truncated.of_cpu(now, others)
    yield from table_pointer_short.of_cpu(now)
    yield from ap_gdt_pointer.of_cpu(now, fault, others)
    yield from _compatibility(now, fault)


def _compatibility(now: StoppedCpu, fault: Fault | None) -> Iterator[Finding]:
    """64-bit code that is decoded as 32-bit code: what the bytes at RIP would be shows it."""
    code = now.selectors.get("CS", 0)
    if not now.in_long_mode or now.code_bits == 64 or code & RPL or fault is None or fault.rip is None or not can_decode():
        return
    why = _reads_as_64(now, now.delivery_registers.linear("cs", fault.rip), fault)
    if why is None:
        return
    value = now.descriptor(code)
    title = message("64-bit code runs as {bits}-bit code at RIP={rip}: CS={cs:02x}h is no 64-bit segment",
                    bits=now.code_bits, rip=Hex(fault.rip), cs=Hex(code))  # fmt: skip
    proof = [why]
    if value is not None and Descriptor(value).is_code:
        found = Descriptor(value)
        proof.append(message("its descriptor is {value:#018x}: L={long}, D={default}", value=Hex(value),
                             long=int(found.long), default=int(found.default)))  # fmt: skip
        if not any(Descriptor(each).is_code and Descriptor(each).long for each in _descriptors(now)):
            proof.append(Message("the GDT holds no code segment with L set"))
    yield BY_ID["compatibility-mode"].finding(title, *proof)


def _reads_as_64(now: StoppedCpu, place: int, fault: Fault) -> Message | None:
    """Why the code at a place must be 64-bit code; None if nothing shows it.

    One operand may read either way, and `dec eax` may stand before it: some prefixes around are asked for beside that.
    """
    around = now.bytes_at(max(place - _AROUND, 0), 2 * _AROUND)
    count = len(_WIDE.findall(around))
    if count < _SOME_PREFIXES:
        return None
    code = now.bytes_at(place, LONGEST)
    here = decode(code, place, now.code_bits) if code else None
    wide = decode(code, place, 64) if code else None
    if here is not None and wide is not None and fault.cr2 is not None:
        target = _relative(wide)
        if target is not None and target != fault.cr2 and _absolute(here) == fault.cr2 and now.bytes_at(target, 1):
            return message("`{here}` reached for {cr2}; as 64-bit code it is `{wide}`, of {target}, which is mapped",
                           here=text(here), cr2=Hex(fault.cr2), wide=text(wide), target=Hex(target))  # fmt: skip
    before = now.bytes_at(place - 1, 1) if place else b""
    if before and before[0] in _REX_W:
        whole = decode(before + code, place - 1, 64)
        if whole is not None and whole.size > 1 and whole.rex == before[0]:
            return message("with the byte before it, {prefix:02x}h, it is `{wide}`", prefix=Hex(before[0]), wide=text(whole))
    if count < _MANY_PREFIXES:
        return None
    return message("the {length} bytes around it have {count} REX.W prefixes of 64-bit operands", length=len(around), count=count)


def _relative(one: Any) -> int | None:
    from capstone import x86

    for operand in one.operands:
        if operand.type == x86.X86_OP_MEM and operand.mem.base == x86.X86_REG_RIP:
            return int(one.address + one.size + operand.mem.disp)
    return None


def _absolute(one: Any) -> int | None:
    from capstone import x86

    for operand in one.operands:
        if operand.type == x86.X86_OP_MEM and not operand.mem.base and not operand.mem.index:
            place: int = operand.mem.disp & (1 << 8 * one.addr_size) - 1
            return place
    return None


def _descriptors(now: StoppedCpu) -> Iterator[int]:
    if now.gdt is None:
        return
    for selector in range(0, min(now.gdt.limit + 1, _MOST_DESCRIPTORS * DESCRIPTOR_BYTES) & -DESCRIPTOR_BYTES, DESCRIPTOR_BYTES):
        value = now.descriptor(selector)
        if value is not None:
            yield value
