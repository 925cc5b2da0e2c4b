"""KVM's reports: on QEMU's screen, and in the log of the kernel below."""

from __future__ import annotations

from pathlib import Path

import pytest
from analyze.log_texts import disguised, triage

from cr3scope.verdict.types import Status
from cr3scope.x86.ending import Ending

DUMP = """\
EAX=00000084 EBX=c01251a4 ECX=c028f8c0 EDX=00000000
ESI=c00cfffc EDI=c00cff44 EBP=c00cff08 ESP=c00cff00
EIP=c01be3c0 EFL=00010006 [-----P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
ES =0010 00000000 ffffffff 00c09300 DPL=0 DS   [-WA]
CS =0008 00000000 ffffffff 00c09b00 DPL=0 CS32 [-RA]
LDT=0000 00000000 0000ffff 00008200 DPL=0 LDT
TR =0028 c0011000 00000067 00008b00 DPL=0 TSS32-busy
GDT=     c0010000 0000002f
IDT=     c0012000 000007ff
CR0=80010011 CR2=c00cfffc CR3=00105000 CR4=00000000
EFER=0000000000000000
Code=00 00 <0f> 30 5a 58 59 c3
"""
OLD = "KVM internal error. Suberror: 3\nextra data[0]: 80000b0e\nextra data[1]: 31\nextra data[2]: 182\nextra data[3]: {:x}\n"
NEW = """\
KVM internal error. Suberror: 3
extra data[0]: 0x0000000080000b0e
extra data[1]: 0x0000000000000031
extra data[2]: 0x0000000000000d81
extra data[3]: 0x00000003a0074ac0
extra data[4]: 0x0000000000000010
"""


@pytest.mark.parametrize("form", disguised(""))
def test_an_event_that_was_being_delivered_is_named(form: str, tmp_path: Path) -> None:
    said = triage(tmp_path, disguised(OLD.format(0xBFEFC) + DUMP)[form])
    assert said.status is Status.FAULTED and said.ending is Ending.STOPPED
    assert said.has("while #PF was delivered", "guest-physical 0xbfefc, where KVM has no RAM", "EIP=0xc01be3c0", "CR2=0xc00cfffc", "KVM's report")
    assert said.has("may be the push to the stack below RSP=0xc00cff00")
    assert said.says_none_of("triple fault", "double fault", "not present", "HEALTHY")


def test_an_address_elsewhere_is_no_push(tmp_path: Path) -> None:
    assert triage(tmp_path, OLD.format(0xBF104) + DUMP).says_none_of("push")
    said = triage(tmp_path, NEW + DUMP)
    assert said.has("guest-physical 0x3a0074ac0") and said.says_none_of("push")


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ("80000b0d", "#GP was"), ("80000b08", "#DF was"), ("8000002f", "hardware interrupt 0x2f was"),
        ("80000202", "an NMI was"), ("80000480", "INT 0x80 (the instruction) was"), ("80000603", "#BP was"),
    ],
)  # fmt: skip
def test_its_vector_and_type(info: str, words: str, tmp_path: Path) -> None:
    said = triage(tmp_path, NEW.replace("80000b0e", info) + DUMP)
    assert said.has(f"KVM gave up while {words} delivered") and said.says_none_of("#PF")


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("an exit of SVM: the first number is an address", ("0x80000b0e", "0x400")),
        ("not valid", ("0xb0e", "0x31")),
        ("no event at all", ("0x00000000000a5000", "0x31")),
        ("CR2", ("0xc00cfffc", "0x31")),
    ],
)
def test_numbers_that_are_no_event_are_not_read_as_one(what: str, data: tuple[str, str], tmp_path: Path) -> None:
    text = f"KVM internal error. Suberror: 3\nextra data[0]: {data[0]}\nextra data[1]: {data[1]}\n{DUMP}"
    said = triage(tmp_path, text)
    assert said.has("while an event was delivered", "do not tell"), what
    assert said.says_none_of("#PF", "guest-physical"), what


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("KVM internal error. Suberror: 1\nemulation failure\n", "could not emulate an instruction (0f 30 5a 58 59 c3 ..)"),
        ("KVM internal error. Suberror: 2\nextra data[0]: 80000b0e\nextra data[1]: 80000b0d\n", "#GP while #PF was delivered"),
        ("KVM internal error. Suberror: 4\nextra data[0]: 0x4a\nextra data[1]: 0x1\n", "for a reason 0x4a that KVM does not expect"),
        ("KVM internal error. Suberror: 9\n", "Suberror 9"),
        ("KVM: entry failed, hardware error 0x80000021\n\nIf you're running a guest on an Intel machine without unrestricted"
         " mode\nsupport, the failure can be most likely due to the guest entering an invalid\nstate for Intel VT.\n\n",
         "0x80000021: the guest's state is invalid"),
        ("KVM: entry failed, hardware error 0xffffffff\n", "the VMCB is invalid"),
        ("KVM: entry failed, hardware error 0x7\n", "(hardware error 0x7)"),
        ("KVM: unknown exit, hardware reason 31\n", "the reason 0x31"),
        ("error: kvm run failed Bad address\n", "`Bad address`"),
    ],
)  # fmt: skip
def test_each_refusal_has_its_words_and_the_registers_behind_it(text: str, words: str, tmp_path: Path) -> None:
    said = triage(tmp_path, text + DUMP)
    assert said.status is Status.FAULTED and said.ending is Ending.STOPPED
    assert said.has(words, "EIP=0xc01be3c0", "32-bit", "CPL 0", "interrupts off")
    assert said.says_none_of("triple fault", "holds no exception")
    alone = triage(tmp_path, text)
    assert alone.ending is Ending.STOPPED and alone.says_none_of("EIP", "RIP")


def test_one_that_is_said_for_each_cpu_is_one(tmp_path: Path) -> None:
    once = "KVM internal error. Suberror: 1\nemulation failure\n"
    said = triage(tmp_path, once * 3 + DUMP)
    assert said.has("could not emulate", "EIP=0xc01be3c0") and said.says_none_of("boots")


def test_registers_of_something_else_are_not_taken(tmp_path: Path) -> None:
    said = triage(tmp_path, f"KVM internal error. Suberror: 1\nemulation failure\n(qemu) info registers\n{DUMP}")
    assert said.has("could not emulate") and said.says_none_of("c01be3c0")


VMCS = """\
VMCS 00000000bb71be22, last attempted VM-entry on CPU 1
*** Guest State ***
CR0: actual=0x0000000080010035, shadow=0x0000000080010031, gh_mask=fffffffffffefff7
CR4: actual=0x0000000000002060, shadow=0x0000000000000020, gh_mask=fffffffffffef871
CR3 = 0x0000000000124000
RSP = 0x0000000000007b00  RIP = 0x0000000000100042
RFLAGS=0x00000002         DR7 = 0x0000000000000400
CS:   sel=0x0008, attr=0x0a09b, limit=0xffffffff, base=0x0000000000000000
SS:   sel=0x0010, attr=0x0c093, limit=0xffffffff, base=0x0000000000000000
GDTR:                           limit=0x00000017, base=0x0000000000101000
IDTR:                           limit=0x00000fff, base=0x0000000000102000
TR:   sel=0x0000, attr=0x0008b, limit=0x0000ffff, base=0x0000000000000000
EFER= 0x0000000000000500
*** Host State ***
RIP = 0xffffffffc0f01234  RSP = 0xffffa0b0c0d0e0f0
CR0=0000000080050033 CR3=0000000111111000 CR4=0000000000362ef0
*** Control State ***
reason=80000021 qualification=0000000000000000
IDTVectoring: info=00000000 errcode=00000000
"""
VMCB = """\
exit_code:          ffffffff
exit_info1:         0000000000000000
VMCB State Save Area:
cs:   s: 0008 a: 0c9b l: ffffffff b: 0000000000000000
ss:   s: 0010 a: 0c93 l: ffffffff b: 0000000000000000
gdtr: s: 0000 a: 0000 l: 00000027 b: 0000000000108000
idtr: s: 0000 a: 0000 l: 000007ff b: 0000000000109000
cpl:            0                efer:         0000000000001000
cr0:            0000000080000011 cr2:          0000000000300000
cr3:            000000000010b000 cr4:          0000000000000000
rip:            0000000000100077 rflags:       0000000000000046
rsp:            0000000000090000 rax:          0000000080000011
"""


def dmesg(text: str, prefix: str = "kvm_intel: ") -> str:
    return "".join(f"[ 1301.{number:06}] {prefix}{line}\n" for number, line in enumerate(text.splitlines()))


@pytest.mark.parametrize("text", [VMCS, dmesg(VMCS), dmesg(VMCS, ""), dmesg(VMCS).replace("EFER= ", "EFER =     ")])
def test_a_vmcs_tells_the_guests_registers_and_not_the_hosts(text: str, tmp_path: Path) -> None:
    said = triage(tmp_path, text)
    assert said.ending is Ending.STOPPED
    assert said.has("KVM could not go on", "the guest's state is invalid", "RIP=0x100042", "CR3=0x124000", "64-bit", "CPL 0")
    assert said.says_none_of("c0f01234", "111111000", "while", "Xen")


def test_an_event_in_the_vmcs_is_named(tmp_path: Path) -> None:
    assert triage(tmp_path, VMCS.replace("info=00000000", "info=80000b0e")).has("while #PF was delivered")


@pytest.mark.parametrize("text", [VMCB, dmesg(VMCB, "kvm_amd: "), dmesg(VMCB, "SVM: ").replace("cpl:   ", "vmpl: 0   cpl:   ")])
def test_a_vmcb_as_well(text: str, tmp_path: Path) -> None:
    said = triage(tmp_path, text)
    assert said.ending is Ending.STOPPED
    assert said.has("the VMCB is invalid", "EIP=0x100077", "CR2=0x300000", "CR3=0x10b000", "32-bit", "interrupts off")


XEN = """\
d12v0 vmentry failure (reason 0x80000021): Invalid guest state (0)
************* VMCS Area **************
*** Guest State ***
CR0: actual=0x0000000000000039, shadow=0x0000000000000011, gh_mask=ffffffffffffffff
CR4: actual=0x0000000000002050, shadow=0x0000000000000000, gh_mask=ffffffffffffffff
CR3 = 0x0000000000800000
RSP = 0x0000000000006f00 (0x0000000000006f00)  RIP = 0x0000000000108f58 (0x0000000000108f58)
RFLAGS=0x00000082 (0x00000082)  DR7 = 0x0000000000000400
       sel  attr  limit   base
  CS: 0008 0c09b ffffffff 0000000000000000
  SS: 0010 0c093 ffffffff 0000000000000000
GDTR:            00000027 000000000010c000
IDTR:            00000000 0000000000000000
"""


def test_xens_form_and_what_it_shows_without_a_failure(tmp_path: Path) -> None:
    failed = "".join(f"(XEN) {line}\n" for line in XEN.splitlines())
    said = triage(tmp_path, failed)
    assert said.ending is Ending.STOPPED and said.has("Xen could not go on", "EIP=0x108f58", "32-bit", "paging off")
    said = triage(tmp_path, "".join(f"(XEN) {line}\n" for line in XEN.splitlines()[1:]))
    assert said.status is Status.INCOMPLETE
    assert said.has("EIP=0x108f58", "no IDT is loaded", "nothing here says that the guest died")


def test_reports_cut_anywhere_claim_no_more(tmp_path: Path) -> None:
    text = OLD.format(0xBFEFC) + DUMP
    for cut in range(len("KVM internal error. Suberror: 3"), len(text), 9):
        said = triage(tmp_path, text[:cut])
        assert said.ending is Ending.STOPPED and said.status is Status.FAULTED, cut
        assert said.has("#PF") is (cut >= text.index("\nextra data[2]")), cut
    for cut in range(len(VMCS.partition("***\n")[0]) + 20, len(VMCS), 13):
        assert triage(tmp_path, VMCS[:cut]).says_none_of("c0f01234", "HEALTHY"), cut
