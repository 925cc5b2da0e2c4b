"""What a log shows by itself: each rule in its forms, and silent on the healthy twin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from analyze.log_rules import LOST, Read, pushed, reader
from analyze.short_log import BOTH, NARROW, NO_PAGING, WIDE, Cpu, Log
from analyze.said import detail, title

from cr3scope.diagnose.catalogue import RULES as CATALOGUE
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged import RULES, beside, findings_of_log
from cr3scope.diagnose.rule import finds_nothing_logged
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.message import Message
from cr3scope.render.message import plain
from cr3scope.verdict.log import judge_log
from cr3scope.verdict.run import RunEnd, judge_untraced

GATE = {True: 16, False: 8}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return reader(tmp_path)


@pytest.fixture(params=BOTH.values(), ids=BOTH)
def cpu(request: pytest.FixtureRequest) -> Cpu:
    found: Cpu = request.param
    return found


def faulted(cpu: Cpu, struck: int | None = 14, cr2: int | None = None) -> Log:
    """A read of what is not there, whose delivery fails."""
    lost = replace(cpu, cr2=LOST)
    log = Log().exception(14, 0, lost)
    return log if struck is None else log.double_fault(14, struck, lost, cr2).triple_fault(struck)


def test_rules_that_are_asked_of_logs_are_those_of_the_catalogue_in_its_order() -> None:
    assert list(RULES) == [rule for rule in CATALOGUE if rule.logged is not finds_nothing_logged]


def test_a_log_whose_last_exception_was_delivered_shows_nothing_of_gates_and_stacks(read: Read, cpu: Cpu) -> None:
    assert read(faulted(cpu, None)).rules == []
    assert read(faulted(replace(cpu, idt=(0, 0x3FF)), None)).rules == [], "it may well have been delivered"


def test_a_guest_that_went_on_has_no_findings(read: Read, cpu: Cpu) -> None:
    """Whatever its registers: it lives with them."""
    odd = replace(cpu, cr3=0x3A84, cr2=LOST)
    assert read(Log().exception(14, 8, odd)).rules != []
    assert read(Log().exception(14, 8, odd).interrupt(0x20, replace(odd, rsp=cpu.rsp + 0x40))).rules == []


# --- no IDT --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [NARROW, NO_PAGING, WIDE], ids=["paging", "no paging", "64-bit"])
@pytest.mark.parametrize(("idt", "words"), [
    ((0, 0), "base 0x0, limit 0h"),
    ((0, 0x3FF), "base 0x0, limit 3ffh"),
    ((0, 0xFFFF), "base 0x0, limit ffffh"),
    ((0xF_61C0, 0), "base 0xf61c0, limit 0h"),
])  # fmt: skip
@pytest.mark.parametrize("vector", [6, 13])
def test_no_idt_is_loaded(read: Read, base: Cpu, idt: tuple[int, int], words: str, vector: int) -> None:
    cpu = replace(base, idt=idt)
    log = Log().exception(vector, 0, cpu)
    log = log.exception(13, 0x1A if vector == 6 else 0, cpu) if vector == 6 else log
    found = read(log.double_fault(13, 13, cpu).triple_fault())
    assert found.rules == ["idt-not-loaded"]
    assert words in title(found.of("idt-not-loaded"))
    for wrong in ("CR3", "table under", "not mapped", "readable"):
        assert wrong not in found.words


def test_an_idt_at_the_address_0_of_another_size_is_one(read: Read) -> None:
    own = replace(NARROW, idt=(0, 0x7FF))
    assert read(faulted(own, 13)).rules == ["idt-gate-bad"]


def test_a_triple_fault_without_a_record_shows_that_no_idt_is_loaded(read: Read) -> None:
    end = replace(NARROW, idt=(0, 0x3FF), cr2=0)
    assert read(Log(["Triple fault"]).reset(end)).rules == ["idt-not-loaded"]
    assert read(Log(["Triple fault"]).reset(replace(end, cr0=0x10))).rules == [], "real mode has it so"
    assert read(Log().reset(end)).rules == [], "a reset is no triple fault"


def test_an_int_on_an_empty_idt_may_be_meant(read: Read) -> None:
    cpu = replace(NARROW, idt=(0, 0))
    found = read(Log().instruction(3, cpu).exception(13, 0x1A, cpu).double_fault(13, 13, cpu).triple_fault())
    assert found.rules == ["idt-not-loaded"] and "on purpose" in found.words


# --- GDT -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "selector", "is_beyond"), [(7, 8, True), (0x17, 0x18, True), (0x1F, 0x18, False), (0x17, 0x10, False)])
def test_a_selector_beyond_the_limit(read: Read, cpu: Cpu, limit: int, selector: int, is_beyond: bool) -> None:
    found = read(Log().exception(13, selector, replace(cpu, gdt=(0x7_2000, limit))))
    assert found.rules == (["gdt-not-loaded"] if is_beyond else [])
    if is_beyond:
        assert f"selector {selector:02x}h is beyond the limit" in title(found.of("gdt-not-loaded"))
        assert f"limit {limit:x}h" in found.words and ("but the null one" in found.words) == (limit == 7)


@pytest.mark.parametrize(("gdt", "words"), [
    ((0xF000_FF53, 0xF000), "table of interrupts"),
    ((0xFF53, 0xF000), "table of interrupts"),  # with 16-bit operand size
    ((0x00F0_00FF, 0x53F0), "table of interrupts"),
    ((0, 0xFFFF), "a reset leaves it"),
])  # fmt: skip
def test_gdtr_that_leads_to_no_gdt(read: Read, gdt: tuple[int, int], words: str) -> None:
    found = read(Log().death(13, 8, replace(NO_PAGING, gdt=gdt)))
    assert found.rules[0] == "gdt-not-loaded" and words in detail(found.findings[0])
    assert "CR3" not in found.words


def test_a_gdt_whose_base_is_not_canonical(read: Read) -> None:
    assert "not canonical" in read(Log().exception(13, 8, replace(WIDE, gdt=(1 << 60, 0x2F)))).words


@pytest.mark.parametrize("error", [0x48 | 4, 0x48 | 2, 0])
def test_what_names_no_selector_of_the_gdt_says_nothing_of_it(read: Read, cpu: Cpu, error: int) -> None:
    assert "gdt-not-loaded" not in read(Log().exception(13, error, cpu)).rules


def test_a_selector_that_a_users_program_loads_is_no_matter_of_lgdt(read: Read, cpu: Cpu) -> None:
    assert read(Log().exception(13, 0x48, replace(cpu, cpl=3, cs=0x1B))).rules == []


# --- interrupts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vector", "irq"), [(8, 0), (9, 1), (15, 7)])
def test_an_interrupt_in_the_place_of_an_exception(read: Read, cpu: Cpu, vector: int, irq: int) -> None:
    log = Log()
    found = read(log.interrupt(vector, cpu).death(13, log.gate(vector, cpu), cpu))
    assert f"IRQ {irq} to a vector of the CPU's exceptions" in title(found.of("pic-not-remapped"))
    assert found.of("pic-not-remapped").severity is Severity.ERROR


def test_the_second_pic_as_the_bios_has_it_is_a_warning(read: Read) -> None:
    log = Log()
    found = read(log.interrupt(0x70, NARROW).death(13, log.gate(0x70, NARROW), NARROW)).of("pic-not-remapped")
    assert found.severity is Severity.WARNING and "IRQ 8" in title(found)


@pytest.mark.parametrize("vector", [2, 0x20, 0x30, 0x78])
def test_interrupts_elsewhere_are_no_matter_of_the_pic(read: Read, vector: int) -> None:
    """NMI among them."""
    log = Log()
    assert "pic-not-remapped" not in read(log.interrupt(vector, NARROW).death(13, log.gate(vector, NARROW), NARROW)).rules


def test_an_exception_on_vector_8_is_no_interrupt(read: Read, cpu: Cpu) -> None:
    assert "pic-not-remapped" not in read(faulted(cpu, 11)).rules


def test_an_interrupt_whose_gate_is_not_mapped(read: Read, cpu: Cpu) -> None:
    size = GATE[cpu.wide]
    lost = replace(cpu, cr2=cpu.idt[0] + 0x21 * size)
    found = read(Log().interrupt(0x21, cpu).death(14, 0, lost, struck=14, cr2=cpu.idt[0] + 14 * size))
    assert found.rules == ["missing-cli"] and f"21h came while its gate at {lost.cr2:#x} cannot be read" in found.words
    served = Log().interrupt(0x21, cpu).exception(14, 0, replace(cpu, cr2=LOST)).double_fault(14, 14, cpu, cpu.idt[0] + 14 * size)
    assert read(served.triple_fault(14)).rules == ["idt-unmapped"], "the interrupt was handled"


# --- gates ---------------------------------------------------------------------------------------------------------


def test_a_gate_that_is_not_present(read: Read, cpu: Cpu) -> None:
    found = read(faulted(cpu, 11))
    assert found.rules == ["idt-gate-bad"] and "gate 14 of the IDT is not present, or the code segment" in found.words
    assert f"its {GATE[cpu.wide]} bytes lie at {cpu.idt[0] + 14 * GATE[cpu.wide]:#x}" in found.words
    user = replace(cpu, cpl=3, cs=0x1B)
    known = read(Log().instruction(0x31, user).exception(11, 0x31 * 8 + 2, user))
    assert known.rules == ["idt-gate-bad"] and title(known.findings[0]) == "gate 49 of the IDT is not present"


@pytest.mark.parametrize("version", [7, 9])
@pytest.mark.parametrize("event", ["interrupt", "instruction"])
def test_a_bad_gate_is_named_by_its_own_number(read: Read, cpu: Cpu, version: int, event: str) -> None:
    log = Log(version=version)
    log = log.interrupt(0x24, cpu) if event == "interrupt" else log.instruction(0x24, cpu)
    found = read(log.death(13, log.gate(0x24, cpu), cpu))
    assert found.rules == ["idt-gate-bad"]
    assert "gate 36 of the IDT is no interrupt or trap gate" in found.words and "72" not in found.words


def test_an_int_of_user_mode_may_lack_the_right(read: Read, cpu: Cpu) -> None:
    log, user = Log(), replace(cpu, cpl=3, cs=0x1B)
    found = read(log.instruction(0x80, user).exception(13, log.gate(0x80, user), user))
    assert found.rules == ["idt-gate-bad"] and "its DPL does not let ring 3 use it" in found.words


def test_a_gate_beyond_the_limit(read: Read, cpu: Cpu) -> None:
    found = read(faulted(replace(cpu, idt=(0x7_1000, 14 * GATE[cpu.wide] - 1)), 13))
    assert found.rules == ["idt-gate-bad"] and "gate 14 of the IDT lies beyond the IDT's limit" in found.words


def test_without_idtr_in_the_log_no_gate_is_called_bad(read: Read, cpu: Cpu) -> None:
    """There may be none: what was most often the cause."""
    lines = [line for line in faulted(cpu, 13).lines if not line.startswith("IDT=")]
    assert read("\n".join(lines) + "\n").rules == []


@pytest.mark.parametrize(("selector", "words"), [(0x58, "beyond the GDT's limit 2fh"), (0x10, "which is no code segment")])
def test_a_gate_that_names_a_selector_in_vain(read: Read, cpu: Cpu, selector: int, words: str) -> None:
    log = Log().exception(6, 0, cpu).exception(13, selector, cpu).double_fault(13, 13, cpu).triple_fault()
    found = read(log)
    assert found.rules == ["selector-mismatch"]
    assert f"gate 6 of the IDT names selector {selector:02x}h, {words}" in found.words


# --- tables and stacks that are not mapped -------------------------------------------------------------------------


def test_an_idt_that_is_not_mapped(read: Read, cpu: Cpu) -> None:
    gate = cpu.idt[0] + 14 * GATE[cpu.wide]
    found = read(faulted(cpu, 14, gate))
    assert found.rules == ["idt-unmapped"] and title(found.findings[0]) == f"the IDT is not readable: gate 14 at {gate:#x}"


def test_a_triple_fault_whose_cr2_is_another_gate_says_nothing_of_the_idt(read: Read, cpu: Cpu) -> None:
    size = GATE[cpu.wide]
    at = [read(Log(["Triple fault"]).reset(replace(cpu, cr2=cpu.idt[0] + gate * size))).rules for gate in (8, 14)]
    assert at == [["idt-unmapped"], []]


def test_a_gdt_that_is_not_mapped(read: Read, cpu: Cpu) -> None:
    found = read(faulted(cpu, 14, cpu.gdt[0] + 8))
    assert found.rules == ["gdt-unmapped"] and "the descriptor of 08h" in found.words


def test_a_tss_that_is_not_mapped(read: Read, cpu: Cpu) -> None:
    user = replace(cpu, cpl=3, cs=0x1B)
    found = read(faulted(user, 14, cpu.task + 4))
    assert found.rules == ["gdt-unmapped"] and "the TSS is not readable" in found.words


@pytest.mark.parametrize(("error", "rule", "words"), [
    (2, "stack-unmapped", "the stack is not mapped at"),
    (3, "stack-readonly", "the stack is read-only at"),
])  # fmt: skip
def test_a_stack_that_cannot_be_written(read: Read, cpu: Cpu, error: int, rule: str, words: str) -> None:
    push = replace(cpu, cr2=cpu.rsp - 4)
    found = read(Log().death(14, error, push, struck=14))
    assert found.rules == [rule] and words in found.words


def test_a_stack_of_which_no_error_code_tells(read: Read, cpu: Cpu) -> None:
    found = read(Log().death(13, 0, cpu, struck=14, cr2=cpu.rsp - 8))
    assert found.rules == ["stack-unmapped"] and "not mapped there, or read-only" in found.words


@pytest.mark.parametrize(("task", "touched", "words"), [
    (0x7_3000, 0xFFFF_FFFC, "the stack for ring 0 in the TSS is 0"),
    (0x7_3000, 0x9_5FFC, "at 0x95ffc, which the TSS names"),
    (0, 4, "no TSS is loaded"),
])  # fmt: skip
def test_user_mode_without_a_stack_for_ring_0(read: Read, task: int, touched: int, words: str) -> None:
    user = replace(NARROW, cpl=3, cs=0x1B, rsp=0xBFFF_F000, task=task)
    found = read(Log().death(13, 0, user, struck=14, cr2=touched))
    assert found.rules == ["ring0-stack-missing"] and words in found.words


@pytest.mark.parametrize("error", [0, 0x28])
@pytest.mark.parametrize("vector", [6, 0x80])
def test_an_event_of_user_mode_that_ends_in_an_invalid_tss(read: Read, vector: int, error: int) -> None:
    user = replace(NARROW, cpl=3, cs=0x1B, task=0)
    log = Log().exception(6, 0, user) if vector == 6 else Log().instruction(vector, user)
    found = read(log.exception(10, error, user))
    assert found.rules == ["ring0-stack-missing"] and "no TSS is loaded" in found.words


def test_the_stack_of_a_kernel_is_no_matter_of_the_tss(read: Read, cpu: Cpu) -> None:
    assert "ring0-stack-missing" not in read(faulted(cpu, 14, 0xFFFF_FFFC)).rules


def test_a_handler_that_is_not_mapped(read: Read, cpu: Cpu) -> None:
    inside = replace(cpu, rip=0x20_9000, cr2=0x20_9000, rsp=pushed(cpu, False), efer=0x500 if cpu.wide else 0)
    found = read(Log().exception(6, 0, cpu).exception(14, 0, inside))
    assert found.rules == ["handler-unmapped"] and "the handler at 0x209000" in found.words
    later = replace(inside, rsp=inside.rsp - 0x20)
    assert read(Log().exception(6, 0, cpu).exception(14, 0, later)).rules == [], "the handler has run, and jumped astray"


# --- control registers ---------------------------------------------------------------------------------------------


def test_a_reserved_bit_while_nxe_is_off(read: Read) -> None:
    off = read(Log().exception(14, 8, replace(WIDE, cr2=LOST)))
    assert off.rules == ["nx-without-nxe"] and f"on the way to {LOST:#x}" in off.words
    assert "has NX" not in off.words, "no log shows the entry"
    assert read(Log().exception(14, 8, replace(WIDE, cr2=LOST, efer=0xD00))).rules == []
    assert read(Log().exception(14, 8, replace(WIDE, cr2=LOST, efer=None))).rules == []
    assert read(Log().exception(14, 2, replace(WIDE, cr2=LOST))).rules == []
    assert read(Log().exception(14, 8, replace(NARROW, cr2=LOST))).rules == [], "NX is none of 32-bit entries"


PAE = replace(NARROW, cr4=0x20)


@pytest.mark.parametrize(("cpu", "cr3", "root"), [
    (NARROW, 0x10_6A84, 0x10_6000), (WIDE, 0x10_6A84, 0x10_6000), (PAE, 0x10_6A84, 0x10_6A80),
])  # fmt: skip
def test_a_top_table_that_is_not_aligned(read: Read, cpu: Cpu, cr3: int, root: int) -> None:
    found = read(Log().exception(14, 0, replace(cpu, cr3=cr3, cr2=LOST)))
    assert found.rules == ["cr3-flags"] and found.findings[0].severity is Severity.ERROR
    assert f"CR3 is {cr3:#x}: not aligned, the CPU reads the top table at {root:#x}" in found.words


def test_flags_in_cr3_do_no_harm(read: Read, cpu: Cpu) -> None:
    for cr3 in (0x10_6000, 0x10_6018, 0x10_6008):
        assert read(Log().exception(14, 0, replace(cpu, cr3=cr3, cr2=LOST))).rules == []
    entry = read(Log().exception(14, 0, replace(cpu, cr3=0x10_6003, cr2=LOST)))
    assert [one.severity for one in entry.findings] == [Severity.WARNING], "an entry with its flags leads to the table"
    assert read(Log().exception(14, 0, replace(WIDE, cr3=0x10_6A84, cr4=0x2_0020, cr2=LOST))).rules == [], "a PCID"
    assert read(Log().exception(14, 0, replace(PAE, cr3=0x10_6A80, cr2=LOST))).rules == []
    assert read(Log().exception(13, 0, replace(cpu, cr3=0x10_6A84))).rules == [], "no page fault"


def test_no_word_about_cr3_while_paging_is_off(read: Read) -> None:
    for vector in (6, 13):
        found = read(Log().death(vector if vector == 13 else 13, 0x48, replace(NO_PAGING, cr3=0x6A84)))
        assert found.rules and "CR3" not in found.words and "mapped" not in found.words


def test_paging_without_protected_mode(read: Read) -> None:
    end = replace(NARROW, cr0=0x8000_0010)
    assert read(Log(["Triple fault"]).reset(end)).rules == ["paging-without-pe"]
    for cr0 in (0x8000_0011, 0x11, 0x10):
        assert read(Log(["Triple fault"]).reset(replace(end, cr0=cr0))).rules == []


# --- addresses that are none ---------------------------------------------------------------------------------------


def test_rip_that_is_not_canonical(read: Read) -> None:
    found = read(Log().exception(13, 0, replace(WIDE, rip=0x0000_8000_0020_0000)))
    assert found.rules == ["non-canonical"] and "bits 63:47 differ" in found.words
    deep = replace(WIDE, rip=0x0000_8000_0020_0000, cr4=0x1020)
    assert read(Log().exception(13, 0, deep)).rules == [], "with five levels it is"
    assert read(Log().exception(13, 0, replace(WIDE, rip=0xFFFF_8000_0020_0000))).rules == []


def test_a_stack_pointer_that_is_not_canonical(read: Read) -> None:
    found = read(Log().death(13, 0, replace(WIDE, rsp=0x0000_9000_0000_1000), struck=12))
    assert found.rules == ["non-canonical"] and "it is RSP" in found.words
    assert read(Log().death(13, 0, WIDE, struck=12)).rules == []


@pytest.mark.parametrize(("rip", "words"), [
    (int.from_bytes(b"no room!", "little"), 'text: "no room!"'),
    (int.from_bytes(b"\x90\x55\x48\x89\xe5\x53\x53\x48", "little"), "code: push rbp; mov rbp, rsp"),
])  # fmt: skip
def test_rip_that_is_text_or_code(read: Read, rip: int, words: str) -> None:
    found = read(Log().exception(13, 0, replace(WIDE, rip=rip)))
    assert found.rules == ["overwritten-address"] and words in found.words


@pytest.mark.parametrize(("cpu", "text", "is_text"), [
    (NARROW, b"path", True), (NARROW, b"\x10pat", False), (WIDE, b"string", True), (WIDE, b"path", False),
])  # fmt: skip
def test_a_fetch_from_letters(read: Read, cpu: Cpu, text: bytes, is_text: bool) -> None:
    rip = int.from_bytes(text, "little")
    found = read(Log().exception(14, 0x10 if cpu.wide else 0, replace(cpu, rip=rip, cr2=rip)))
    assert found.rules == (["overwritten-address"] if is_text else [])
    assert not is_text or "most likely" in found.words


# --- beside the paused machine's -----------------------------------------------------------------------------------


def finding(rule: str) -> Finding:
    return next(one for one in CATALOGUE if one.id == rule).finding(Message("as the machine tells"))


def test_the_machines_word_stands_first_and_is_not_said_again(read: Read, cpu: Cpu) -> None:
    report = read(faulted(cpu, 14, cpu.idt[0] + 14 * GATE[cpu.wide])).report
    told = judge_untraced(RunEnd(findings=(finding("code-unmapped"),)), report, None).findings
    assert [(one.rule, one.severity) for one in told] == [("code-unmapped", Severity.ERROR), ("idt-unmapped", Severity.NOTE)]
    alone = judge_untraced(RunEnd(), report, None).findings
    assert [(one.rule, one.severity) for one in alone] == [("idt-unmapped", Severity.ERROR)]
    for same in ("idt-unmapped", "missing-cli"):
        assert [one.rule for one in judge_untraced(RunEnd(findings=(finding(same),)), report, None).findings] == [same]


def test_of_a_guest_that_could_still_speak_the_log_shows_nothing(read: Read) -> None:
    report = read(Log().exception(14, 8, replace(WIDE, cr2=LOST))).report
    assert findings_of_log(report)
    assert "nx-without-nxe" not in [one.rule for one in judge_untraced(RunEnd(panic="no init"), report, None).findings]


def test_what_was_found_otherwise_makes_notes_of_the_rest() -> None:
    logged = (finding("idt-gate-bad"), finding("gdt-not-loaded"))
    assert [one.rule for one in beside((finding("selector-mismatch"),), logged)] == ["gdt-not-loaded"]
    assert list(beside((), logged)) == list(logged)




def test_a_guest_that_survived_the_like_before_is_not_said_to_have_died_of_its_registers(read: Read, cpu: Cpu) -> None:
    odd, log = replace(cpu, cr3=0x3A84, cr2=LOST), Log()
    for count in range(4):
        log.exception(14, 0, replace(odd, rip=cpu.rip + 8 * count)).interrupt(0x20, odd)
    found = read(log.exception(14, 0, replace(odd, rip=cpu.rip + 0x100, rsp=cpu.rsp + 64)))
    assert found.report.is_routine and found.rules == []


def last_of(folder: Path, log: Log) -> tuple[str, list[tuple[str, Severity]], str]:
    (folder / "log").write_text(log.text)
    with LogFile(folder / "log") as opened:
        verdict = judge_log(read_story(opened))
    assert verdict.observation is not None
    return verdict.status.value, [(one.rule, one.severity) for one in verdict.findings], plain(verdict.observation.last)


def test_an_interrupt_in_the_place_of_an_exception_is_told_though_it_was_delivered(tmp_path: Path, cpu: Cpu) -> None:
    """The log ends in the handler of #DF, which the timer has called."""
    status, found, last = last_of(tmp_path, Log().interrupt(8, cpu))
    assert (status, found) == ("healthy", [("pic-not-remapped", Severity.WARNING)])
    assert last.startswith("interrupt 0x8 ") and "#DF" not in last
    for well in (Log().interrupt(8, cpu).interrupt(0x20, cpu), Log().interrupt(8, replace(cpu, cr0=0x10)), Log().interrupt(0x20, cpu)):
        assert last_of(tmp_path, well)[1] == []


def test_an_int_instruction_seen_last_is_called_one(tmp_path: Path, cpu: Cpu) -> None:
    assert last_of(tmp_path, Log().instruction(8, cpu))[2].startswith("INT 8 ")
