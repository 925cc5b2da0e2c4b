"""Which entry of the live tables refused an access, and what that access was for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cr3scope.capture.records import AccessKind
from cr3scope.exceptions import PF_FETCH, PF_USER, PF_WRITE
from cr3scope.machine.snapshot import Snapshot
from cr3scope.paging.cpu import CR4_SMEP, EFER_NXE
from cr3scope.paging.entry import NO_EXECUTE, PAGE_BYTES, entry_name, is_leaf, reserved_mask
from cr3scope.paging.mov_cr3 import LONGEST, switches_before
from cr3scope.paging.page_size import lacks_page_size
from cr3scope.paging.platform import Platform
from cr3scope.paging.walk import PageFault, Reason, access, walk
from cr3scope.predict.names import covered
from cr3scope.rules import BY_ID
from cr3scope.rules.page_size_missing import words as lacks_words
from cr3scope.verdict import EntryRef, Fault, Finding

_FRAME_REACH = 64  # a frame is 48 bytes below RSP, which is first aligned to 16
_FIRST_INTERRUPT = 32
_UPPER_HALF = (1 << 17) - 1  # bits 63:47 of a kernel's virtual address
# Signature at the start of a table of the firmware's, and its size (UEFI 2.10, 4.3 to 4.5).
_FIRMWARE_TABLES = {
    b"IBI SYST": ("EFI system table", 120),
    b"BOOTSERV": ("EFI boot services table", 376),
    b"RUNTSERV": ("EFI runtime services table", 136),
}
_CONSOLE_FIELDS = {0x30: "ConIn", 0x40: "ConOut", 0x50: "StdErr", 0x58: "RuntimeServices",
                   0x60: "BootServices"}  # fmt: skip


def page_fault_cause(snapshot: Snapshot, fault: Fault) -> Iterator[Finding]:
    """At most one finding; none if the tables, as they now are, would let the access through."""
    error, virt = fault.error_code, fault.cr2
    if error is None or virt is None or fault.rip is None:
        return
    kind = AccessKind.READ
    tells_fetches = snapshot.cpu.efer & EFER_NXE or snapshot.cpu.cr4 & CR4_SMEP  # SDM 3A, 5.7
    if error & PF_FETCH or (not tells_fetches and virt == fault.rip and not error & PF_WRITE):
        kind = AccessKind.FETCH
    elif error & PF_WRITE:
        kind = AccessKind.WRITE
    cpu = snapshot.cpu if fault.cr3 is None else replace(snapshot.cpu, cr3=fault.cr3)
    refused = access(snapshot, cpu, virt, kind, bool(error & PF_USER), platform=Platform.TCG)
    if not isinstance(refused, PageFault) or not refused.guilty:
        return
    entry = refused.guilty[0]
    name = entry_name(entry.level, entry.index)
    rule, title = _named(snapshot, fault, refused, kind, name)
    large = _meant_large(snapshot, walk(snapshot, cpu, virt, Platform.TCG).entries)
    if large is not None:
        entry = large
        rule, title = "page-size-missing", f"{entry_name(entry.level, entry.index)} {lacks_words(entry)}"
    seen = f"the live tables under CR3={cpu.cr3:#x} refuse {virt:#x} at {name}"
    detail = "\n".join([seen, *_remarks(snapshot, fault, refused)])
    yield replace(BY_ID[rule].finding(title, detail), entry=entry, range=covered(entry, virt))


def _meant_large(snapshot: Snapshot, path: Sequence[EntryRef]) -> EntryRef | None:
    for entry in path:
        table = snapshot.table(entry.phys & -PAGE_BYTES)
        if table is not None and lacks_page_size(table, entry.level, entry.index):
            return entry
    return None


def _named(
    snapshot: Snapshot, fault: Fault, refused: PageFault, kind: AccessKind, name: str
) -> tuple[str, str]:
    """The rule and the title."""
    entry, virt = refused.guilty[0], refused.virt
    upper = not is_leaf(entry.value, entry.level)
    if refused.reason is Reason.RESERVED:
        bits = entry.value & reserved_mask(entry.level, entry.value, snapshot.cpu, Platform.TCG)
        words = f"{name} has reserved bits set: {bits:#x}"
        if entry.value >> 47 == _UPPER_HALF:
            words += "; it holds a virtual address where the physical one belongs"
            return "virt-address-in-entry", words
        if bits == NO_EXECUTE:
            return "nx-without-nxe", f"{name} has NX while EFER.NXE is off: bit 63 is reserved"
        return "reserved-bits", words
    if refused.reason is Reason.NO_EXECUTE:
        if upper:
            return "nx-upper-level", f"{name} has NX: it forbids execution of everything beneath it"
        return "nx-leaf-code", f"{name} has NX: {virt:#x} cannot be executed"
    missing = refused.reason is Reason.NOT_PRESENT
    why = refused.reason.of(name)
    if missing and snapshot.idt is not None and snapshot.idt.has(virt) and virt != fault.rip:
        return "idt-unmapped", f"the IDT at {snapshot.idt.base:#x} is not mapped: {why}"
    if missing and snapshot.gdt is not None and snapshot.gdt.has(virt) and virt != fault.rip:
        return "gdt-unmapped", f"the GDT at {snapshot.gdt.base:#x} is not mapped: {why}"
    if kind is AccessKind.FETCH and missing:
        if virt == 0:
            return "jump-to-null", f"jump to address 0, which is not mapped: {why}"
        if _follows_the_switch(snapshot, virt):
            return (
                "identity-missing-trampoline",
                f"the code that switched, at {virt:#x}, is not mapped by the new tables: {why}",
            )
        return "code-unmapped", f"the code at {virt:#x} is not mapped: {why}"
    if _is_push(snapshot, fault, virt):
        if missing:
            return "stack-unmapped", f"the stack is not mapped at {virt:#x}: {why}"
        if refused.reason is Reason.READ_ONLY and not upper:
            return "stack-readonly", f"the stack at {virt:#x} is read-only: {why}"
    if refused.reason is Reason.READ_ONLY and upper:
        return "upper-level-readonly", f"{name} is read-only: so is everything beneath it"
    verb = {AccessKind.FETCH: "executed", AccessKind.READ: "read", AccessKind.WRITE: "written"}
    return "access-fault", f"{virt:#x} cannot be {verb[kind]}: {why}"


def _remarks(snapshot: Snapshot, fault: Fault, refused: PageFault) -> Iterator[str]:
    others: tuple[EntryRef, ...] = refused.guilty[1:]
    if others:
        names = ", ".join(entry_name(other.level, other.index) for other in others)
        yield f"the same in {names}"
    idt, virt = snapshot.idt, refused.virt
    if idt is not None and idt.has(virt):
        vector = (virt - idt.base) // 16
        if vector >= _FIRST_INTERRUPT:
            yield f"interrupt {vector:02x}h needed it: mask interrupts (cli) before the switch"
    if refused.reason is Reason.NOT_PRESENT and virt != fault.rip:
        yield from _firmware_table(snapshot, virt)


def _follows_the_switch(snapshot: Snapshot, virt: int) -> bool:
    """Loaders run where virtual is physical: the instruction before RIP can still be read there."""
    if virt < LONGEST or virt >> snapshot.cpu.max_phys_bits:
        return False
    before = snapshot.physical(virt - LONGEST, LONGEST)
    return switches_before(before)


def _is_push(snapshot: Snapshot, fault: Fault, virt: int) -> bool:
    """Return whether the access was made right below RSP as it was then.

    The fault's record tells RSP. Without one it is that of the paused CPU, if nothing has run since.
    """
    rsp = fault.rsp
    if rsp is None:
        rsp = snapshot.registers.get("RSP", 0) if snapshot.rip == fault.rip else virt
    return 0 < (rsp - virt) % (1 << 64) <= _FRAME_REACH


def _firmware_table(snapshot: Snapshot, virt: int) -> Iterator[str]:
    """Firmware's tables lie where virtual was physical before the switch."""
    longest = max(size for _, size in _FIRMWARE_TABLES.values())
    first = virt - longest
    if first < 0 or virt >> snapshot.cpu.max_phys_bits:
        return
    before = snapshot.physical(first, longest + 8)
    for signature, (name, size) in _FIRMWARE_TABLES.items():
        at = before.rfind(signature)
        offset = longest - at
        if at >= 0 and offset < size:
            is_console = signature == b"IBI SYST" and offset in _CONSOLE_FIELDS
            field = f" ({_CONSOLE_FIELDS[offset]})" if is_console else ""
            yield (
                f"it is in the firmware's {name}, at +{offset:x}h{field}: boot services and console"
                " end with ExitBootServices"
            )
            return
