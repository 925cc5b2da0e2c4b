"""Why the CPU refused an instruction that it could fetch: #UD, #NM, and #GP(0) of its operands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.facts.at_fault import AtFault
from cr3scope.diagnose.finding import Finding
from cr3scope.message import Message, as_messages
from cr3scope.paging.walk import is_canonical
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86 import exceptions
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_state import CR0_EM, CR0_TS, CpuState
from cr3scope.x86.decode.instruction import LONGEST, address, can_decode, decode, text
from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.decode.memory_operands import alignment
from cr3scope.x86.decode.missing_state import missing_state

_NO_MEMORY = b"\xff" * LONGEST
_TURN_ON = (
    "Turn it on before (for SSE also CR0.EM=0, for AVX also XCR0), or build what runs earlier without it"
    " (-mgeneral-regs-only)."
)
_EDK2_FILL = 0xAF  # edk2, MdePkg.dec: PcdDebugClearMemoryValue
_STACK = ("rsp", "rbp")


def refused_instruction(snapshot: StoppedCpu, fault: Fault, at_fault: AtFault) -> Iterator[Finding]:
    """Yield at most one finding on why the instruction at RIP is refused. QmpError if QEMU stops answering."""
    code = b"" if fault.rip is None else snapshot.bytes_at(fault.rip, LONGEST)
    if fault.rip is None or not code:
        return
    if not can_decode():
        title = f"the instruction at RIP={fault.rip:#x} is refused with {exceptions.name(fault.vector)}"
        yield _finding(title, code, "which one it is takes python3-capstone to tell")
        return
    one, registers = decode(code, fault.rip, at_fault.code_bits or 64), at_fault.registers
    now = snapshot.cpu  # a handler may have changed it: edk2's turns OSFXSR on
    cpu = replace(
        now,
        cr0=registers.get("CR0", now.cr0),
        cr4=registers.get("CR4", now.cr4),
        efer=registers.get("EFER", now.efer),
    )
    if fault.vector == exceptions.UNDEFINED:
        yield _undefined(code, one, fault.rip, cpu)
    elif fault.vector == exceptions.NO_FPU:
        bits = " and ".join(name for bit, name in ((CR0_EM, "EM"), (CR0_TS, "TS")) if cpu.cr0 & bit)
        why = f"CR0.{bits} is set" if bits else "CR0.EM or CR0.TS was set"
        what = f"`{text(one)}`" if one else f"the instruction at {fault.rip:#x}"
        yield _finding(f"{what} needs the FPU, and {why}", code)
    elif fault.vector == exceptions.PROTECTION:
        found = _protected(code, one, registers, cpu)
        segment = _segment(snapshot, one) if one else ""
        yield replace(found, proof=(*found.proof, *as_messages(segment)))


def _undefined(code: bytes, found: Any, rip: int, cpu: CpuState) -> Finding:
    if code == _NO_MEMORY[: len(code)]:
        return _finding(f"no memory answers at RIP={rip:#x}: it reads as FFh, which is no code", b"")
    if found is None:
        return _finding(f"the bytes at RIP={rip:#x} are no instruction", code)
    if found.mnemonic.startswith("ud"):
        return _finding(
            f"{found.mnemonic} at RIP={rip:#x}: the program gave up by itself",
            code,
            "compilers put it where code cannot go on: a failed check, __builtin_trap(), a function that"
            " does not return a value",
            "Look at the function that holds it: which of its checks failed, and who called it.",
        )
    off = missing_state(found, cpu)
    if off:
        return _finding(f"`{text(found)}` needs {off}", code, fix=_TURN_ON)
    return _finding(
        f"this CPU does not know `{text(found)}`",
        code,
        "code for a newer CPU (-march=native?), or a model (-cpu) without it; or data was executed",
        "Build for the CPU that there is, or give QEMU one that has it (-cpu max).",
    )


def _protected(
    code: bytes, found: Any, registers: Mapping[str, int], cpu: CpuState
) -> Finding:
    if found is None:
        return _finding("bytes that are no instruction are refused with #GP(0)", code)
    rip = found.address
    words = text(found)
    known = KnownRegisters({name.lower(): value for name, value in registers.items()})
    if found.mnemonic in ("wrmsr", "rdmsr"):
        msr, low, high = known.get("ecx"), known.get("eax"), known.get("edx")
        written = "" if found.mnemonic == "rdmsr" or low is None else f", value {(high or 0) << 32 | low:#x}"
        which = "" if msr is None else f" of MSR {msr:#x}{written}"
        return _finding(f"`{words}`{which}: there is no such MSR, or reserved bits are set", code)
    control = next((n for n in _operands(found) if n[:2] == "cr" and n[2:].isdigit()), None)
    if control and found.mnemonic == "mov":
        value = known.get(next((n for n in _operands(found) if n != control), control))
        loaded = "" if value is None else f" with {value:#x}"
        return _finding(f"`{words}`{loaded}: bits that this CPU does not have, or not together", code)
    for base, virt in _addresses(found, known):
        if not is_canonical(virt, cpu.levels):
            title = f"`{words}` goes to {virt:#x}, which is not canonical"
            plain = BY_ID["non-canonical"].finding(Message(title), *as_messages(f"RIP={rip:#x}"))
            if bytes([_EDK2_FILL]) * 4 not in virt.to_bytes(8, "big"):
                return plain
            why = "AFh is what edk2 fills memory with before it hands it out: nobody has set this"
            return replace(plain, proof=as_messages(why), fix=Message("Set, or clear, the memory before it is used."))
        need = alignment(found)
        if virt % need:
            rule = "stack-misaligned" if base in _STACK else "instruction-refused"
            title = f"`{words}` needs a multiple of {need}, and goes to {virt:#x}"
            return BY_ID[rule].finding(Message(title), *as_messages(f"RIP={rip:#x}; code: {code[: found.size].hex(' ')}"))
    return _finding(f"`{words}` is refused with #GP(0)", code)


def _addresses(found: Any, known: KnownRegisters) -> Iterator[tuple[str, int]]:
    """Base register and address of each memory operand of which it is known."""
    from capstone import x86

    for operand in found.operands:
        if operand.type == x86.X86_OP_MEM:
            virt = address(found, operand, known)
            if virt is not None:
                yield found.reg_name(operand.mem.base) or "", virt


def _segment(snapshot: StoppedCpu, found: Any) -> str:
    """The descriptor that a far jump or call with an immediate selector loads."""
    from capstone import x86

    if found.mnemonic not in ("ljmp", "lcall") or found.operands[0].type != x86.X86_OP_IMM:
        return ""
    selector = int(found.operands[0].imm)
    descriptor = snapshot.descriptor(selector)
    if descriptor is None:
        return f"the GDT has no selector {selector:02x}h"
    limit = descriptor & 0xFFFF | descriptor >> 32 & 0xF0000
    long, default = descriptor >> 53 & 1, descriptor >> 54 & 1
    return f"selector {selector:02x}h: {descriptor:#018x}, L={long}, D={default}, limit {limit:x}h"


def _operands(found: Any) -> list[str]:
    return [word.strip() for word in found.op_str.split(",")]


def _finding(title: str, code: bytes, more: str = "", fix: str = "") -> Finding:
    detail = f"code: {code.hex(' ')}" if code else ""
    plain = BY_ID["instruction-refused"].finding(Message(title), *as_messages("\n".join(filter(None, (detail, more)))))
    return replace(plain, fix=Message(fix)) if fix else plain
