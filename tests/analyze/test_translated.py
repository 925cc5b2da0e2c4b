"""QEMU's log of translated code, as QEMU 7.2 writes it."""

from __future__ import annotations

from cr3scope.qemu.translated import switches_in, until_reset

LOG = """----------------
IN: 
0x020000af:  b8 00 60 6b 03           movl     $0x36b6000, %eax
0x020000b4:  0f 22 d8                 movq     %rax, %cr3

----------------
IN: 
0x0d0b6d9e:  0f 20 d9                 movq     %cr3, %rcx
0xffffffff88873570:  41 0f 22 dc              movq     %r12, %cr3
0xffffffff88873574:  48 b8 0f 22 d8 0f 22 d8  movabsq  $0xd8220fd8220f, %rax
0xffffffff8887357c:  00 00 
0xffffffff8887357e:  0f 22 e1                 movq     %rcx, %cr4
"""
RESET = """CPU Reset (CPU 1)
0x00001000:  0f 22 d8                 movl     %eax, %cr3
CPU Reset (CPU 0)
EAX=00000000 EBX=00000000 ECX=00000000 EDX=00000663
0xfffffa00:  0f 22 d8                 movl     %eax, %cr3
"""


def test_each_switch_is_found_at_its_address_and_nothing_else() -> None:
    found = [(one.offset, one.length, one.register) for one in switches_in(LOG)]
    assert found == [(0x20000B4, 3, "rax"), (0xFFFFFFFF88873570, 4, "r12")]


def test_what_the_boot_cpu_executes_after_its_reset_is_another_boot() -> None:
    text, was_reset = until_reset(LOG + RESET)
    assert was_reset
    assert [one.offset for one in switches_in(text)] == [0x20000B4, 0xFFFFFFFF88873570, 0x1000]
    assert until_reset(LOG) == (LOG, False)


def test_a_log_that_is_no_log_has_no_switches() -> None:
    assert list(switches_in("0x:  0f 22 d8 \n0xzz:  0f 22 d8 \n\x00\xff0x1000:  0f 22\n0x1:  0 ")) == []
