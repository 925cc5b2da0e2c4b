"""Logs of QEMU's ``-d int,cpu_reset``, of any size, made like those of QEMU 7.2 and OVMF 2022.11.

As a program: storm_log.py OUT MEGABYTES writes a storm as NX in every PML4 entry makes one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

FIRMWARE_CR3, NEW_CR3 = 0xF801000, 0xE531000
IDT, GDT = 0xF07B018, 0xF5DB000
SWITCH, HANDLER, STACK = 0xE3A6119, 0xF05983C, 0xFEA07F0
FRAME = 48

RESET = """\
CPU Reset (CPU 0)
EAX=00000000 EBX=00000000 ECX=00000000 EDX=00060fb1
ESI=00000000 EDI=00000000 EBP=00000000 ESP=00000000
EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0
CS =f000 ffff0000 0000ffff 00009b00
GDT=     00000000 0000ffff
IDT=     00000000 0000ffff
CR0=60000010 CR2=00000000 CR3=00000000 CR4=00000000
DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000 
DR6=00000000ffff0ff0 DR7=0000000000000400
CCS=00000000 CCD=00000000 CCO=DYNAMIC
EFER=0000000000000000
FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80
FPR0=0000000000000000 0000 FPR1=0000000000000000 0000
XMM00=0000000000000000 0000000000000000 XMM01=0000000000000000 0000000000000000
"""
DUMP = """\
RAX=000000000e531000 RBX=000000000e3a6000 RCX=800000000f802023 RDX=0000000000000200
RSI=000000000e4f8b18 RDI=000000000f9ee018 RBP=000000000fea0830 RSP={rsp:016x}
R8 =0000000000000000 R9 =000000000fea0710 R10=000000000f05c7a0 R11=000000000000000f
R12=0000000000000000 R13=000000000f9ee018 R14=000000000fea0908 R15=000000000e4f9198
RIP={rip:016x} RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
ES =0030 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
CS =0038 0000000000000000 ffffffff 00af9a00 DPL=0 CS64 [-R-]
SS =0030 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
DS =0030 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
FS =0030 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
GS =0030 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
LDT=0000 0000000000000000 0000ffff 00008200 DPL=0 LDT
TR =0000 0000000000000000 0000ffff 00008b00 DPL=0 TSS64-busy
GDT=     {gdt:016x} 00000047
IDT=     {idt:016x} 00000fff
CR0=80010033 CR2={cr2:016x} CR3={cr3:016x} CR4=00000668
DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000 
DR6=00000000ffff0ff0 DR7=0000000000000400
CCS=0000000000000000 CCD=0000000000000000 CCO=EFLAGS
EFER=0000000000000d00
"""
TRIPLE = "check_exception old: 0x8 new 0xe\nTriple fault\n"


def record(
    number: int,
    vector: int,
    error: int = 0,
    *,
    rip: int = SWITCH,
    rsp: int = STACK,
    cr2: int = 0,
    cr3: int = NEW_CR3,
    old: int | None = 0xFFFFFFFF,
    idt: int = IDT,
    eax: str = "env->regs[R_EAX]",
) -> str:
    """An exception; ``old`` is what was being delivered, None makes a hardware interrupt of it."""
    if old is None:
        before = f"Servicing hardware INT=0x{vector:02x}\n"
    else:
        # A double fault is logged by the second fault that makes it one.
        before = f"check_exception old: 0x{old:x} new 0x{14 if vector == 8 else vector:x}\n"
    tail = f"CR2={cr2:016x}" if vector == 14 else f"{eax}=000000000e531000"
    return (
        f"{before}{number:6d}: v={vector:02x} e={error:04x} i=0 cpl=0 IP=0038:{rip:016x}"
        f" pc={rip:016x} SP=0030:{rsp:016x} {tail}\n"
        + DUMP.format(rip=rip, rsp=rsp, cr2=cr2, cr3=cr3, idt=idt, gdt=GDT)
    )


def firmware(records: int = 150, first: int = 0) -> Iterator[str]:
    """Two resets, then timer interrupts of the firmware."""
    yield RESET + RESET
    for number in range(first, first + records):
        yield record(number, 0x20, rip=0xF051266 + number, cr3=FIRMWARE_CR3, old=None)


def storm(records: int, first: int, falling: bool = True) -> Iterator[str]:
    """The true fault, then the fault of its handler over and over; a falling RSP ends it."""
    yield record(first, 14, 0x11, cr2=SWITCH)
    for i in range(1, records):
        rsp = STACK - (FRAME * i if falling else 0)
        yield record(first + i, 14, 0x11, rip=HANDLER, rsp=rsp, cr2=HANDLER)
    if falling:
        rsp = STACK - FRAME * records
        yield record(first + records, 13, 0, rip=HANDLER, rsp=rsp)
        yield record(first + records + 1, 8, 0, rip=HANDLER, rsp=rsp, cr2=rsp - 8, old=13)
        yield TRIPLE


def storm_log(path: Path, size: int, interrupts: int = 150) -> int:
    """Writes a storm of about ``size`` bytes; returns the records under the new CR3."""
    records = max(size // len(record(0, 14, 0x11)), 32)
    with path.open("w") as out:
        out.writelines(chain(firmware(interrupts), storm(records, interrupts)))
    return records + 2


if __name__ == "__main__":
    storm_log(Path(sys.argv[1]), int(sys.argv[2]) << 20)
