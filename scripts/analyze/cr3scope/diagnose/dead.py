"""Why a guest died of a page fault: its access, walked again in the live tables, asked of the rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.message import Hex, Message, message
from cr3scope.diagnose.catalogue import BY_ID, RULES
from cr3scope.diagnose.compose import compose
from cr3scope.diagnose.facts.virtual_pointer import virtual_pointer
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.rules.switch import missing_cli
from cr3scope.diagnose.stopped import context
from cr3scope.model.handlers import handlers
from cr3scope.model.known import NOTHING, Known
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.faulted_access import faulted_access
from cr3scope.paging.tables import root_entries
from cr3scope.paging.walk import PageFault, Reason, access
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.access import AccessKind, Fault
from cr3scope.x86.cpu_state import CR4_SMEP, CpuState
from cr3scope.x86.entry import PRESENT
from cr3scope.x86.exceptions import FIRST_INTERRUPT, PF_USER

_INT = 0xCD  # INT imm8 (SDM 2A, INT n)
# Signature at the start of a table of the firmware's, and its size (UEFI 2.10, 4.3 to 4.5).
_FIRMWARE_TABLES = {
    b"IBI SYST": ("EFI system table", 120),
    b"BOOTSERV": ("EFI boot services table", 376),
    b"RUNTSERV": ("EFI runtime services table", 136),
}
_CONSOLE_FIELDS = {0x30: "ConIn", 0x40: "ConOut", 0x50: "StdErr", 0x58: "RuntimeServices",
                   0x60: "BootServices"}  # fmt: skip


def page_fault_cause(now: StoppedCpu, fault: Fault, known: Known = NOTHING) -> Iterator[Finding]:
    """Yield at most one finding; none if the tables, as they now are, would let the access through.

    ``known``: what files and memory tell of addresses.
    """
    error, virt = fault.error_code, fault.cr2
    if error is None or virt is None or fault.rip is None:
        return
    cpu = now.cpu if fault.cr3 is None else replace(now.cpu, cr3=fault.cr3)
    kind = faulted_access(cpu, fault)
    refused = access(now, cpu, virt, kind, bool(error & PF_USER), platform=now.platform)
    if not isinstance(refused, PageFault):
        return
    if not refused.guilty:
        yield from _root_in_no_ram(now, cpu, refused)
        return
    if told := tuple(virtual_pointer(now, cpu, refused)):
        yield from told
        return
    interrupt = _interrupt(now, fault, refused)
    if interrupt is not None:
        yield missing_cli.of_interrupt(interrupt, fault, refused)
        return
    struck = list(_strikes(now, fault, refused, kind))
    if struck[0].target is Target.PLAN and _is_emulated_return(now, cpu, fault, refused):
        return
    registers = replace(now.delivery_registers, rip=fault.rip)
    for found in compose(context(now, cpu, registers, struck, is_dead=True, known=known), RULES, struck)[:1]:
        seen = message("the live tables under CR3={cr3} refuse {cr2}: {refused}",
                       cr3=Hex(cpu.cr3), cr2=Hex(virt), refused=Message(refused.reason.of("{veto}"), {"veto": refused.guilty[0]}))  # fmt: skip
        yield replace(found, proof=(seen, *_empty_root(now, cpu, refused), *found.proof, *_firmware_table(now, fault, refused)))


def _root_in_no_ram(now: StoppedCpu, cpu: CpuState, refused: PageFault) -> Iterator[Finding]:
    """CR3 itself, where the machine tells that it has no memory at the top table."""
    ranges = list(now.ram())
    if refused.reason is not Reason.TABLE_UNREADABLE or not ranges:
        return
    if any(first <= cpu.root <= last for first, last in ranges):
        return
    below = max((last for first, last in ranges if first < cpu.root), default=None)
    ends = [message("below it RAM ends at {last}", last=Hex(below))] if below is not None else []
    yield BY_ID["bad-root"].finding(
        message("CR3={cr3} points to {root}, where the machine has no RAM", cr3=Hex(cpu.cr3), root=Hex(cpu.root)),
        *ends, Message("CR3 takes a physical address: one that was linked or mapped higher up must be translated first"),
    )  # fmt: skip


def _empty_root(now: StoppedCpu, cpu: CpuState, refused: PageFault) -> Iterator[Message]:
    """That the refusing entry is no gap in the top table, but one of a page in which there is no table."""
    entries = root_entries(now, cpu) if refused.guilty[0].level == cpu.levels else None
    if entries is not None and not any(int(each) & PRESENT for each in entries):
        yield message("no entry at all of the table at {root} is present: it was never filled, or CR3 should point to another one", root=Hex(cpu.root))


def _interrupt(now: StoppedCpu, fault: Fault, refused: PageFault) -> int | None:
    """Return the vector of a device's interrupt that wanted a gate which is not mapped; None if an INT instruction did
    or may have, or something else."""
    idt, virt = now.idt, refused.virt
    if idt is None or virt == fault.rip or not idt.has(virt) or fault.rip is None:
        return None
    vector = (virt - idt.base) // now.mode.gate_bytes
    under = now if fault.cr3 is None else now.under(fault.cr3)
    there, instruction = under.bytes_at(fault.rip, 2), bytes((_INT, vector & 0xFF))
    if vector < FIRST_INTERRUPT or instruction.startswith(there):  # also where RIP cannot be read, or its page ends
        return None
    return vector


def _is_emulated_return(now: StoppedCpu, cpu: CpuState, fault: Fault, refused: PageFault) -> bool:
    """Return whether SMAP has refused the supervisor an access of code of ring 3: what SMEP lets run on a user page is no other.

    A CPU makes such code's own accesses as a user, and asks no descriptor table here; QEMU's TCG (seen of 7.2) pops the frame of IRET
    and RETF as the supervisor. So no entry is to blame (SDM 3A, 5.6.1).
    """
    if refused.reason is not Reason.SMAP or not cpu.cr4 & CR4_SMEP or fault.rip is None:
        return False
    return not isinstance(access(now, cpu, fault.rip, AccessKind.FETCH, True, platform=now.platform), PageFault)


def _strikes(now: StoppedCpu, fault: Fault, refused: PageFault, kind: AccessKind) -> Iterator[Strike]:
    """Yield the access once for each entry that vetoes it.

    The fault's record tells RSP as it was then. Without one it is that of the paused CPU, if nothing has run
    since.
    """
    rsp = None if fault.rsp is None else now.delivery_registers.linear("ss", fault.rsp)
    if rsp is None and now.pc == fault.rip:
        rsp = now.stack
    for entry in refused.guilty:
        target = _target(now, refused.virt, fault.rip, kind)
        yield Strike(target, kind, refused.virt, refused.reason, entry, fault=fault, rsp=rsp)


def _target(now: StoppedCpu, virt: int, rip: int | None, kind: AccessKind) -> Target:
    """Return whether delivery of an exception made the access: it reads the descriptor tables, and enters a handler.

    The IDT it never writes; in the GDT it sets accessed and busy bits (SDM 3A, 3.4.5.1 and 9.2.2).
    """
    if kind is AccessKind.READ and virt != rip and now.idt is not None and now.idt.has(virt):
        return Target.IDT
    if virt != rip and now.gdt is not None and now.gdt.has(virt):
        return Target.GDT
    if virt == rip and virt in handlers(now, now.delivery_registers):
        return Target.HANDLER
    return Target.PLAN


def _firmware_table(now: StoppedCpu, fault: Fault, refused: PageFault) -> Iterator[Message]:
    """Yield a line if it is in a table of the firmware's: they lie where virtual was physical before the switch."""
    virt = refused.virt
    if refused.reason is not Reason.NOT_PRESENT or virt == fault.rip:
        return
    longest = max(size for _, size in _FIRMWARE_TABLES.values())
    first = virt - longest
    if first < 0 or virt >> now.phys_bits:
        return
    before = now.physical(first, longest + 8)
    for signature, (name, size) in _FIRMWARE_TABLES.items():
        at = before.rfind(signature)
        offset = longest - at
        if at >= 0 and offset < size:
            if signature == b"IBI SYST" and offset in _CONSOLE_FIELDS:
                place = message("+{offset:x}h ({field})", offset=Hex(offset), field=_CONSOLE_FIELDS[offset])
            else:
                place = message("+{offset:x}h", offset=Hex(offset))
            yield message(
                "it is in the firmware's {table}, at {place}: boot services and console end with ExitBootServices",
                table=name, place=place,
            )  # fmt: skip
            return
