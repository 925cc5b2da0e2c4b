"""Records as the versions of QEMU write them: each form is read, and tells the same story.

The forms are those of do_interrupt_all and x86_cpu_dump_state in QEMU's target/i386.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from cr3scope.input.logs.formats.qemu_int import observe
from cr3scope.render.message import plain
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending

# What the tail of the first line is for another vector than 0e.
TAILS = {
    "QEMU 1": "EAX=000000000dd98000",
    "QEMU 4 to 10": "env->regs[R_EAX]=000000000dd98000",
}
FIRMWARE = """\
Servicing hardware INT=0x68
     0: v=68 e=0000 i=0 cpl=0 IP=0038:000000000f6e8425 pc=000000000f6e8425 SP=0030:000000000fea0858 {tail}
RAX=0000000000000000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000000
RIP=000000000f6e8425 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
CS =0038 0000000000000000 ffffffff 00af9a00 DPL=0 CS64 [-R-]
TR =0000 0000000000000000 0000ffff 00008b00 DPL=0 TSS64-busy
GDT=     000000000f5db000 00000047
IDT=     000000000f07b018 00000fff
CR0=80010033 CR2=0000000000000000 CR3=000000000f801000 CR4=00000668
EFER=0000000000000d00
"""
SWITCH = """\
check_exception old: 0xffffffff new 0xd
     1: v=0d e=0000 i=0 cpl=0 IP=0038:000000000df8305b pc=000000000df8305b SP=0030:000000000fea0858 {tail}
RAX=000000000dd98000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000000
RIP=000000000df8305b RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
CS =0038 0000000000000000 ffffffff 00af9a00 DPL=0 CS64 [-R-]
TR =0000 0000000000000000 0000ffff 00008b00 DPL=0 TSS64-busy
GDT=     000000000f5db000 00000047
IDT=     000000000f07b018 00000fff
CR0=80010033 CR2=0000000000000000 CR3=000000000dd98000 CR4=00000668
EFER=0000000000000d00
check_exception old: 0xd new 0xe
     2: v=0e e=0000 i=0 cpl=0 IP=0038:000000000df8305b pc=000000000df8305b SP=0030:000000000fea0858 CR2=000000000f07b0e8
RAX=000000000dd98000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000000
RIP=000000000df8305b RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
GDT=     000000000f5db000 00000047
IDT=     000000000f07b018 00000fff
CR0=80010033 CR2=000000000f07b0e8 CR3=000000000dd98000 CR4=00000668
check_exception old: 0xe new 0xe
     3: v=08 e=0000 i=0 cpl=0 IP=0038:000000000df8305b pc=000000000df8305b SP=0030:000000000fea0858 {tail}
RAX=000000000dd98000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000000
RIP=000000000df8305b RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
GDT=     000000000f5db000 00000047
IDT=     000000000f07b018 00000fff
CR0=80010033 CR2=000000000f07b0f8 CR3=000000000dd98000 CR4=00000668
check_exception old: 0x8 new 0xe
"""
# qemu-system-i386 writes eight digits, and a guest in protected mode EIP.
NARROW = """\
check_exception old: 0xffffffff new 0xe
     0: v=0e e=0002 i=0 cpl=0 IP=0008:00100f3c pc=00100f3c SP=0010:00107fe0 CR2=deadbeef
EAX=deadbeef EBX=00000000 ECX=00000000 EDX=00000000
ESI=00000000 EDI=00000000 EBP=00107ff8 ESP=00107fe0
EIP=00100f3c EFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
CS =0008 00000000 ffffffff 00cf9a00 DPL=0 CS32 [-R-]
TR =0000 00000000 0000ffff 00008b00 DPL=0 TSS32-busy
GDT=     00108000 00000017
IDT=     00000000 00000000
CR0=80000011 CR2=deadbeef CR3=00109000 CR4=00000000
check_exception old: 0xe new 0xd
     1: v=08 e=0000 i=0 cpl=0 IP=0008:00100f3c pc=00100f3c SP=0010:00107fe0 {tail}
EAX=deadbeef EBX=00000000 ECX=00000000 EDX=00000000
EIP=00100f3c EFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
GDT=     00108000 00000017
IDT=     00000000 00000000
CR0=80000011 CR2=deadbeef CR3=00109000 CR4=00000000
check_exception old: 0x8 new 0xd
"""


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS.keys())
@pytest.mark.parametrize("prefix", ["", "CPU#1 ", "[12345] "])
def test_form_e_is_read_in_every_spelling(tmp_path: Path, tail: str, prefix: str) -> None:
    path = tmp_path / "int.log"
    lines = (FIRMWARE + SWITCH).format(tail=tail).splitlines(keepends=True)
    path.write_text("".join(prefix + line for line in lines))
    report = observe(path)
    assert report.first == Fault(13, 0, None, 0xDF8305B, 0xDD98000)
    assert report.ending is Ending.TRIPLE_FAULT
    assert "IDT is not readable" in plain(report.detail)
    assert report.switch is not None and report.switch.before == 0xF801000


@pytest.mark.parametrize("tail", ["EAX=deadbeef", "env->regs[R_EAX]=deadbeef"])
def test_log_of_a_32_bit_guest_is_read(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "int.log"
    path.write_text(NARROW.format(tail=tail))
    report = observe(path)
    assert report.first == Fault(14, 2, 0xDEADBEEF, 0x100F3C, 0x109000)
    assert report.ending is Ending.TRIPLE_FAULT
