"""Where a CPU stands, in words, and why it went no further if somebody says so."""

from __future__ import annotations

from cr3scope.input.logs.chain import no_idt_words
from cr3scope.input.logs.delivery import has_no_idt
from cr3scope.input.logs.event import RegisterDump, Shown, Stopped
from cr3scope.x86.cpu_state import RFLAGS_IF


def place_words(cpu: RegisterDump) -> str:
    """Return where a CPU stands, as ``at RIP=0x.., CR3=0x.., 64-bit, CPL 0, halted, interrupts off``.

    Empty if no RIP is known. What the dump does not hold is left out; without paging CR2 and CR3 mean nothing.
    """
    if cpu.rip is None:
        return ""
    words = [f"at {'EIP' if cpu.code_bits in (16, 32) else 'RIP'}={cpu.rip:#x}"]
    if cpu.has_paging is not False:
        words += [f"{name}={value:#x}" for name, value in (("CR2", cpu.cr2), ("CR3", cpu.cr3)) if value]
    if cpu.is_protected is False:
        words.append("real mode")
    else:
        if cpu.code_bits is not None:
            words.append(f"{cpu.code_bits}-bit")
        if cpu.has_paging is False:
            words.append("paging off")
        if cpu.cpl is not None:
            words.append(f"CPL {cpu.cpl}")
    if cpu.halted:
        words.append("halted")
    if cpu.flags is not None:
        words.append(f"interrupts {'on' if cpu.flags & RFLAGS_IF else 'off'}")
    return ", ".join(words)


def stopped_words(end: Stopped) -> str:
    """Return why whoever runs the guest gave it up, and where the CPU stood."""
    return ", ".join(filter(None, (end.why, place_words(end.cpu))))


def shown_words(shown: Shown) -> str:
    """Return whose registers were shown, and where that CPU stood."""
    return f"{shown.whose} {place_words(shown.cpu)}".rstrip()


def standing_note(shown: Shown) -> str:
    """Return what registers alone, of which nothing is said to have happened, tell and do not tell."""
    cpu = shown.cpu
    note = "registers alone: nothing here says that the guest died, or of what"
    if cpu.halted and cpu.flags is not None and not cpu.flags & RFLAGS_IF:
        note += "; this CPU is halted with interrupts off: only an NMI, an SMI, INIT or a reset wakes it"
    if has_no_idt(cpu):
        note += f"; {no_idt_words(cpu)}: the first exception would be a triple fault"
    return note
