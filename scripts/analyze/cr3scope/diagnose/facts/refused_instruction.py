"""Why the CPU refused an instruction that it could fetch: #UD, #NM, and #GP(0) of its operands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.facts.at_fault import AtFault
from cr3scope.diagnose.finding import Finding
from cr3scope.message import Hex, Message, Vector, message
from cr3scope.paging.walk import is_canonical
from cr3scope.target.stopped_cpu import StoppedCpu, widened
from cr3scope.x86 import exceptions
from cr3scope.x86.access import Fault
from cr3scope.x86.cpu_state import CR0_EM, CR0_TS, CpuState
from cr3scope.x86.descriptors import Descriptor
from cr3scope.x86.decode.instruction import LONGEST, address, can_decode, decode, text
from cr3scope.x86.decode.known_registers import KnownRegisters
from cr3scope.x86.decode.memory_operands import alignment
from cr3scope.x86.decode.missing_state import missing_state
from cr3scope.x86.x2apic import ICR, is_x2apic, reserved_of_icr

_NO_MEMORY = b"\xff" * LONGEST
_TURN_ON = Message(
    "Turn it on before (for SSE also CR0.EM=0, for AVX also XCR0), or build what runs earlier without it"
    " (-mgeneral-regs-only)."
)
_X2APIC_OFF = Message("MSRs 800h to 8FFh raise #GP(0) unless IA32_APIC_BASE (MSR 1Bh) has bits 10 and 11 set")
_TURN_ON_X2APIC = Message("Ask CPUID.1:ECX bit 21, then set bits 10 and 11 of MSR 1Bh; without x2APIC use the APIC's memory.")
_EDK2_FILL = 0xAF  # edk2, MdePkg.dec: PcdDebugClearMemoryValue
_STACK = ("rsp", "rbp", "esp", "ebp")
_NEEDS_FPU = {
    CR0_EM: "CR0.EM is set", CR0_TS: "CR0.TS is set", CR0_EM | CR0_TS: "CR0.EM and TS is set",
}  # fmt: skip


def refused_instruction(snapshot: StoppedCpu, fault: Fault, at_fault: AtFault) -> Iterator[Finding]:
    """Yield at most one finding on why the instruction at RIP is refused. QmpError if QEMU stops answering."""
    code = b"" if fault.rip is None else snapshot.bytes_at(fault.rip, LONGEST)
    if fault.rip is None or not code:
        return
    if not can_decode():
        title = message("the instruction at RIP={rip} is refused with {vector}", rip=Hex(fault.rip), vector=Vector(fault.vector))
        yield _finding(title, code, Message("which one it is takes python3-capstone to tell"))
        return
    registers, rip = widened(at_fault.registers), at_fault.rip_at(fault.rip)
    one = decode(code, rip, at_fault.code_bits or 64)
    now = snapshot.cpu  # a handler may have changed it: edk2's turns OSFXSR on
    cpu = replace(
        now,
        cr0=registers.get("CR0", now.cr0),
        cr4=registers.get("CR4", now.cr4),
        efer=registers.get("EFER", now.efer),
    )
    if fault.vector == exceptions.UNDEFINED:
        yield _undefined(code, one, rip, cpu)
    elif fault.vector == exceptions.NO_FPU:
        why = _NEEDS_FPU.get(cpu.cr0 & (CR0_EM | CR0_TS), "CR0.EM or CR0.TS was set")
        what = message("the instruction at {rip}", rip=Hex(rip))
        if one:
            what = message("`{instruction}`", instruction=text(one))
        yield _finding(message("{what} needs the FPU, and {why}", what=what, why=Message(why)), code)
    elif fault.vector == exceptions.PROTECTION:
        # Outside 64-bit code an address counts from its segment's base.
        bases = {f"{name}_base": segment.base for name, segment in snapshot.segments.items()}
        found = _protected(code, one, {**bases, **registers}, cpu)
        yield replace(found, proof=(*found.proof, *(_segment(snapshot, one) if one else ())))


def _undefined(code: bytes, found: Any, rip: int, cpu: CpuState) -> Finding:
    if code == _NO_MEMORY[: len(code)]:
        return _finding(message("no memory answers at RIP={rip}: it reads as FFh, which is no code", rip=Hex(rip)), b"")
    if found is None:
        return _finding(message("the bytes at RIP={rip} are no instruction", rip=Hex(rip)), code)
    if found.mnemonic.startswith("ud"):
        return _finding(
            message("{instruction} at RIP={rip}: the program gave up by itself", instruction=found.mnemonic, rip=Hex(rip)),
            code,
            Message("compilers put it where code cannot go on: a failed check, __builtin_trap(), a function that"
                    " does not return a value"),
            Message("Look at the function that holds it: which of its checks failed, and who called it."),
        )  # fmt: skip
    off = missing_state(found, cpu)
    if off:
        return _finding(message("`{instruction}` needs {needs}", instruction=text(found), needs=off), code, fix=_TURN_ON)
    return _finding(
        message("this CPU does not know `{instruction}`", instruction=text(found)),
        code,
        Message("code for a newer CPU (-march=native?), or a model (-cpu) without it; or data was executed"),
        Message("Build for the CPU that there is, or give QEMU one that has it (-cpu max)."),
    )


def _protected(
    code: bytes, found: Any, registers: Mapping[str, int], cpu: CpuState
) -> Finding:
    if found is None:
        return _finding(Message("bytes that are no instruction are refused with #GP(0)"), code)
    rip = found.address
    words = text(found)
    known = KnownRegisters({name.lower(): value for name, value in registers.items()})
    if found.mnemonic in ("wrmsr", "rdmsr"):
        return _msr(code, words, known, found.mnemonic == "wrmsr")
    control = next((n for n in _operands(found) if n[:2] == "cr" and n[2:].isdigit()), None)
    if control and found.mnemonic == "mov":
        value = known.get(next((n for n in _operands(found) if n != control), control))
        if value is None:
            return _finding(message("`{instruction}`: bits that this CPU does not have, or not together", instruction=words), code)
        title = message("`{instruction}` with {value}: bits that this CPU does not have, or not together",
                        instruction=words, value=Hex(value))  # fmt: skip
        return _finding(title, code)
    for base, virt in _addresses(found, known):
        if not is_canonical(virt, cpu.levels):
            title = message("`{instruction}` goes to {virt}, which is not canonical", instruction=words, virt=Hex(virt))
            plain = BY_ID["non-canonical"].finding(title, message("RIP={rip}", rip=Hex(rip)))
            if bytes([_EDK2_FILL]) * 4 not in virt.to_bytes(8, "big"):
                return plain
            why = Message("AFh is what edk2 fills memory with before it hands it out: nobody has set this")
            return replace(plain, proof=(why,), fix=Message("Set, or clear, the memory before it is used."))
        need = alignment(found)
        if virt % need:
            rule = "stack-misaligned" if base in _STACK else "instruction-refused"
            return BY_ID[rule].finding(
                message("`{instruction}` needs a multiple of {alignment}, and goes to {virt}",
                        instruction=words, alignment=need, virt=Hex(virt)),
                message("RIP={rip}; code: {code}", rip=Hex(rip), code=code[: found.size]),
            )  # fmt: skip
    return _finding(message("`{instruction}` is refused with #GP(0)", instruction=words), code)


def _msr(code: bytes, words: str, known: KnownRegisters, is_write: bool) -> Finding:
    """Why an access to an MSR is refused (SDM volume 2B, RDMSR and WRMSR)."""
    msr, low, high = known.get("ecx"), known.get("eax"), known.get("edx")
    what, value = message("`{instruction}`", instruction=words), None
    if msr is not None:
        what = message("`{instruction}` of MSR {msr}", instruction=words, msr=Hex(msr))
        if is_write and low is not None:
            value = (high or 0) << 32 | low
            what = message("`{instruction}` of MSR {msr}, value {value}", instruction=words, msr=Hex(msr), value=Hex(value))
    if msr is None or not is_x2apic(msr):
        return _finding(message("{what}: there is no such MSR, or reserved bits are set", what=what), code)
    if msr != ICR or is_write and value is None:
        why = message("{what}: x2APIC mode is off, or it has no such register, or reserved bits are set", what=what)
        return _finding(why, code, _X2APIC_OFF, _TURN_ON_X2APIC)
    if value is not None and (bits := reserved_of_icr(value)):
        return _finding(message("{what}: bits {bits} of the x2APIC's ICR are reserved", what=what, bits=Hex(bits)), code,
                        fix=Message("Write the destination and the command with one wrmsr, and no other bits."))  # fmt: skip
    return _finding(message("{what}: the ICR of an x2APIC, and x2APIC mode is off", what=what), code, _X2APIC_OFF, _TURN_ON_X2APIC)


def _addresses(found: Any, known: KnownRegisters) -> Iterator[tuple[str, int]]:
    """Base register and address of each memory operand of which it is known."""
    from capstone import x86

    for operand in found.operands:
        if operand.type == x86.X86_OP_MEM:
            virt = address(found, operand, known)
            if virt is not None:
                yield found.reg_name(operand.mem.base) or "", virt


def _segment(snapshot: StoppedCpu, found: Any) -> Iterator[Message]:
    """Yield a line on the descriptor that a far jump or call with an immediate selector loads."""
    from capstone import x86

    if found.mnemonic not in ("ljmp", "lcall") or found.operands[0].type != x86.X86_OP_IMM:
        return
    selector = int(found.operands[0].imm)
    value = snapshot.descriptor(selector)
    if value is None:
        yield message("the GDT has no selector {selector:02x}h", selector=Hex(selector))
        return
    descriptor = Descriptor(value)
    yield message(
        "selector {selector:02x}h: {descriptor:#018x}, L={long}, D={default}, limit {limit:x}h",
        selector=Hex(selector), descriptor=Hex(value), limit=Hex(descriptor.limit),
        long=int(descriptor.long), default=int(descriptor.default),
    )  # fmt: skip


def _operands(found: Any) -> list[str]:
    return [word.strip() for word in found.op_str.split(",")]


def _finding(title: Message, code: bytes, more: Message | None = None, fix: Message | None = None) -> Finding:
    there = message("code: {code}", code=code) if code else None
    plain = BY_ID["instruction-refused"].finding(title, *(each for each in (there, more) if each))
    return replace(plain, fix=fix) if fix else plain
