"""Bochs' log: it records no exception, and still says what the CPU complained of."""

from __future__ import annotations

from pathlib import Path

import pytest
from analyze.log_texts import disguised, triage

from cr3scope.verdict.types import Status
from cr3scope.x86.ending import Ending

TIME = "00061730021"
NOT_A_GATE = "interrupt(): gate descriptor is not valid sys seg (vector={:#04x})"
NO_IDT = "interrupt(): vector must be within IDT table limits, IDT.limit = 0x0"
DEATH = "exception(): 3rd (13) exception with no resolution, shutdown status is 00h, resetting"


def dump(eip: int = 0xB21, cr0: int = 0x60000011, cr2: int = 0, cr3: int = 0) -> list[str]:
    return [
        "CPU is in protected mode (active)",
        "CS.mode = 32 bit",
        "SS.mode = 32 bit",
        "EFER   = 0x00000000",
        "| EAX=60000018  EBX=00000004  ECX=00000800  EDX=00000010",
        "| ESP=000008f4  EBP=00000000  ESI=00000000  EDI=0000ffa0",
        "| IOPL=0 id vip vif ac vm RF nt of df IF tf sf zf af PF cf",
        "| SEG sltr(index|ti|rpl)     base    limit G D",
        "|  CS:0008( 0001| 0|  0) 00000000 ffffffff 1 1",
        "|  DS:0010( 0002| 0|  0) 00000000 ffffffff 1 1",
        f"| EIP={eip:08x} ({eip:08x})",
        f"| CR0={cr0:#010x} CR2={cr2:#010x}",
        f"| CR3={cr3:#010x} CR4=0x00000000",
    ]


LONG = [
    "CPU is in long mode (active)",
    "CS.mode = 64 bit",
    "EFER   = 0x00000500",
    "| RAX=0000000000000010  RBX=0000000000000000",
    "| RSP=0000000000007bf0  RBP=0000000000000000",
    "| IOPL=0 id vip vif ac vm RF nt of df if tf sf zf af pf cf",
    "|  CS:0008( 0001| 0|  0) 00000000 00000000 0 0",
    "|  MSR_FS_BASE:0000000000000000",
    "| RIP=0000000000100214 (0000000000100214)",
    "| CR0=0xe0000011 CR2=0x00000000000a5000",
    "| CR3=0x0000000000109000 CR4=0x00000020",
]


def log(*messages: str, device: str = "CPU0  ", time: str = TIME, level: str = "e") -> str:
    return "".join(f"{time}{level}[{device}] {message}\n" for message in messages)


def death(*complaints: str, registers: list[str] | None = None, end: str = DEATH) -> str:
    return log(*complaints) + log(*(dump() if registers is None else registers), level="i") + log(end)


GATES = (NOT_A_GATE.format(13), NOT_A_GATE.format(8))


@pytest.mark.parametrize("form", disguised(""))
def test_bad_gates_tell_which_exception_it_was(form: str, tmp_path: Path) -> None:
    text = death("write_virtual_checks(): write beyond limit, r/w", *GATES)
    said = triage(tmp_path, disguised(text)[form])
    assert said.status is Status.FAULTED and said.ending is Ending.TRIPLE_FAULT
    assert said.has("#GP at RIP=0xb21", "gate 13 or its selector is bad", "triple fault", "write beyond limit, r/w")
    assert said.says_none_of("CR3", "#PF", "page", "cannot be read")


def test_a_page_fault_whose_gate_is_bad_has_its_address(tmp_path: Path) -> None:
    paged = dump(eip=0x80001A2C, cr0=0xE0000011, cr2=0x3F1000, cr3=0x102000)
    said = triage(tmp_path, death(NOT_A_GATE.format(14), NOT_A_GATE.format(8), registers=paged))
    assert said.has("#PF at RIP=0x80001a2c", "CR2=0x3f1000", "gate 14 or its selector is bad")
    assert said.says_none_of("read, not present", "write,")


def test_the_address_of_a_later_page_fault_is_not_that_of_the_first(tmp_path: Path) -> None:
    paged = dump(cr0=0xE0000011, cr2=0x9004, cr3=0x102000)
    end = DEATH.replace("(13)", "(14)")
    said = triage(tmp_path, death(NOT_A_GATE.format(14), NOT_A_GATE.format(8), registers=paged, end=end))
    assert said.has("#PF at RIP=0xb21") and said.says_none_of("CR2=0x9004 RIP=", "0x9004 RIP")


@pytest.mark.parametrize("complaint", [NO_IDT, NO_IDT.replace("interrupt()", "interrupt(long mode)")])
def test_an_idt_with_a_limit_of_zero_is_none(complaint: str, tmp_path: Path) -> None:
    said = triage(tmp_path, death(complaint, complaint))
    assert said.ending is Ending.TRIPLE_FAULT
    assert said.has("triple fault", "RIP=0xb21", "no IDT is loaded", "IDT.limit = 0x0")
    assert said.says_none_of("holds no exception", "CR3")


def test_a_short_idt_is_quoted_and_not_called_absent(tmp_path: Path) -> None:
    said = triage(tmp_path, death(*[NO_IDT.replace("0x0", "0x3f")] * 2))
    assert said.has("IDT.limit = 0x3f") and said.says_none_of("no IDT is loaded")


def test_three_failed_deliveries_begin_with_an_interrupt_or_an_instruction_and_with_no_exception_of_that_number(
    tmp_path: Path,
) -> None:
    said = triage(tmp_path, death(NOT_A_GATE.format(8), NOT_A_GATE.format(13), NOT_A_GATE.format(8)))
    assert said.has("triple fault", "(vector=0x08)", "(vector=0x0d)")
    assert said.says_none_of("#DF at", "#GP at")


def test_complaints_of_another_time_are_not_of_this_death(tmp_path: Path) -> None:
    before = log("check_cs(0x0018): not a valid code segment !", *GATES, time="00000400100")
    said = triage(tmp_path, before + death())
    assert said.has("triple fault", "at RIP=0xb21", "#GP was raised while #DF was delivered")
    assert said.says_none_of("check_cs", "gate 13")


@pytest.mark.parametrize(
    "cause",
    [
        "check_cs(0x0018): not a valid code segment !",
        "fetch_raw_descriptor: GDT: index (1f) 3 > limit (17)",
        "load_seg_reg(DS, 0x0020): invalid segment",
    ],
)
def test_what_the_cpu_complained_of_is_quoted(cause: str, tmp_path: Path) -> None:
    assert triage(tmp_path, death(cause, *GATES)).has(f"Bochs says: `{cause}`")


def test_long_mode_and_the_other_form_of_its_dump(tmp_path: Path) -> None:
    newer = [line.replace("IOPL=0 id", "EFLAGS=00010046: id") for line in LONG]
    for registers in (LONG, newer):
        said = triage(tmp_path, death(registers=registers))
        assert said.has("triple fault", "RIP=0x100214", "CR2=0xa5000: the address of the last page fault")


def test_older_versions_panic_and_dump_behind_it(tmp_path: Path) -> None:
    text = log(">>PANIC<< exception(): 3rd (13) exception with no resolution", device="CPU  ", level="p")
    said = triage(tmp_path, text + log("protected mode", *dump()[1:], device="CPU  ", level="i"))
    assert said.ending is Ending.TRIPLE_FAULT and said.has("RIP=0xb21") and said.says_none_of("gave up")


def test_without_a_dump_the_debugger_tells_where_it_stopped(tmp_path: Path) -> None:
    stop = f"(0).[{int(TIME)}] [0x000000000b21] 0008:00000b21 (unk. ctxt): mov byte ptr ds:[esi], 0x00\n"
    said = triage(tmp_path, log(*GATES) + stop + log(DEATH))
    assert said.has("#GP at RIP=0xb21")
    assert triage(tmp_path, log(*GATES) + stop.replace(".[61", ".[71") + log(DEATH)).says_none_of("0xb21")


def test_a_panic_is_told_in_bochs_own_words(tmp_path: Path) -> None:
    text = log(">>PANIC<< prefetch: running in bogus memory, pAddr=0x0fa00000", level="p") + log(*dump(), level="i")
    said = triage(tmp_path, text + "Bochs is exiting with the following message:\n" + text.splitlines()[0].partition("p")[2])
    assert said.status is Status.FAULTED and said.ending is Ending.STOPPED
    assert said.has("Bochs gave up (CPU0): `prefetch: running in bogus memory, pAddr=0x0fa00000`", "EIP=0xb21")
    assert said.says_none_of("triple fault", "holds no exception")


def test_a_log_that_its_user_ended_proves_nothing(tmp_path: Path) -> None:
    text = log(">>PANIC<< POWER button turned off.", device="XGUI  ", level="p") + log(*dump(), level="i")
    said = triage(tmp_path, text)
    assert said.status is Status.INCOMPLETE
    assert said.has("nothing here says that the guest died", "EIP=0xb21", "interrupts on")
    assert said.says_none_of("FAULTED", "HEALTHY", "gave up")


def test_a_log_cut_anywhere_is_never_healthy_and_claims_no_more(tmp_path: Path) -> None:
    text = death("write_virtual_checks(): write beyond limit, r/w", *GATES)
    complete = text.index(DEATH) + len("exception(): 3rd (13) exception with no resolution")
    for cut in range(text.index("]") + 1, len(text), 7):
        said = triage(tmp_path, text[:cut])
        assert said.status is (Status.FAULTED if cut >= complete else Status.INCOMPLETE), cut
        assert cut >= complete or said.says_none_of("triple fault"), cut


def debugged(*lines: str, **registers: int) -> str:
    """A log that was told to debug: complaints bear an e, exceptions a d."""
    text = "".join(log(line, level="e" if line[:9] != "exception" and "vector = " not in line else "d") for line in lines)
    return text + log(*dump(**registers), level="i") + log(DEATH)


FAULT = ("exception(0x0e): error_code=0000", "interrupt(): vector = 0e, TYPE = 3, EXT = 1", "interrupt(): gate not present")
DOUBLE = ("exception(0x08): error_code=0000", "interrupt(): vector = 08, TYPE = 3, EXT = 1")


def test_a_log_that_was_told_to_debug_has_the_whole_chain(tmp_path: Path) -> None:
    beyond = "fetch_raw_descriptor: GDT: index (40bf) 817 > limit (7f)"
    paged = {"eip": 0x80001A2C, "cr0": 0xE0000011, "cr2": 0x80001A2C, "cr3": 0x102000}
    text = debugged(*FAULT, "exception(0x0b): error_code=0073", *DOUBLE, beyond, "exception(0x0d): error_code=40b9", **paged)
    said = triage(tmp_path, text)
    assert said.ending is Ending.TRIPLE_FAULT
    assert said.has("#PF (error 0000: instruction fetch, not present) at RIP=0x80001a2c")
    assert said.has("gate 14, or the code segment that it names, is not present", f"`{beyond}`", "while #PF was delivered: #DF")
    assert said.says_none_of("gate 14 or its selector is bad", "vector = ")


@pytest.mark.parametrize(("kind", "words"), [("0", "hardware interrupt 0x08"), ("4", "INT 0x08 (the instruction)")])
def test_there_an_interrupt_is_told_from_an_exception(kind: str, words: str, tmp_path: Path) -> None:
    text = debugged(
        f"interrupt(): vector = 08, TYPE = {kind}, EXT = 1", NOT_A_GATE.format(8), "exception(0x0d): error_code=0042",
        "interrupt(): vector = 0d, TYPE = 3, EXT = 1", NOT_A_GATE.format(13), "exception(0x0d): error_code=006b", *DOUBLE,
        NOT_A_GATE.format(8), "exception(0x0d): error_code=0043",
    )  # fmt: skip
    said = triage(tmp_path, text)
    assert said.has(f"{words} at RIP=0xb21", "gate 8 or its selector is bad", "while #GP was delivered: #DF")
    assert said.says_none_of("FAULTED: #DF", "FAULTED: #GP")


@pytest.mark.parametrize("complaint", ["return_protected: SS.dpl != cs.rpl", "LTR: doesn't point to an available TSS descriptor!"])
def test_whatever_the_cpu_complained_of_then_is_quoted(complaint: str, tmp_path: Path) -> None:
    other = log("IO read from port 0x0060 with len 4", device="DEV   ") + log(complaint, device="CPU1  ")
    assert triage(tmp_path, death(complaint, *GATES)).has(f"`{complaint}`")
    assert triage(tmp_path, other + death(*GATES)).says_none_of(complaint, "IO read")


def test_another_prefix_of_lines_and_another_cpu(tmp_path: Path) -> None:
    text = death(*GATES).replace("CPU0", "CPU3")
    assert triage(tmp_path, text).has("#GP at RIP=0xb21")
    bare = "".join(f"[CPU0  ]{line[11]}| {line.partition('] ')[2]}\n" for line in death(*GATES).splitlines())
    assert triage(tmp_path, bare).has("#GP at RIP=0xb21", "triple fault")
    assert triage(tmp_path, "Bochs is exiting with the following message:\n[CPU0 ] exception(): 3rd (14) exception with no resolution"
                  ).has("triple fault", "#PF was raised while #DF was delivered")  # fmt: skip


def test_the_gate_that_an_error_code_of_hardware_names_is_no_other(tmp_path: Path) -> None:
    """EXT is set where QEMU's TCG, which once counted a gate twice, never sets it."""
    text = debugged("exception(0x06): error_code=0000", "interrupt(): vector = 06, TYPE = 3, EXT = 1", NO_IDT,
                    "exception(0x0d): error_code=0033", "interrupt(): vector = 0d, TYPE = 3, EXT = 1", NO_IDT, *DOUBLE)  # fmt: skip
    said = triage(tmp_path, text)
    assert said.has("#UD at RIP=0xb21", "(error 0033: gate 6 of the IDT, on delivery of an event)")
    assert said.says_none_of("QEMU")


@pytest.mark.parametrize("eip", [0, 0xFFF0])
def test_what_bochs_lacks_before_the_guest_runs_is_not_the_guests_death(eip: int, tmp_path: Path) -> None:
    text = log(">>PANIC<< ata0-1: could not open hard drive image file", device="HD   ", level="p") + log(*dump(eip), level="i")
    said = triage(tmp_path, text)
    assert said.status is Status.INCOMPLETE
    assert said.has("could not open hard drive image file", "before the guest ran") and said.says_none_of("FAULTED", "HEALTHY")
    assert triage(tmp_path, text.replace(f"{eip:08x}", "00100a20")).status is Status.FAULTED


def test_a_panic_that_a_web_page_quotes_is_one(tmp_path: Path) -> None:
    text = log(">>PANIC<< prefetch: running in bogus memory", level="p") + log(*dump(), level="i")
    said = triage(tmp_path, disguised(text)["HTML"])
    assert said.status is Status.FAULTED and said.has("Bochs gave up (CPU0): `prefetch: running in bogus memory`")
