"""What the fuzzer over events once found: each in its smallest form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from analyze.logs.cpu import DF, GP, IF, INT, INTERRUPT, NXE, PAE, PF, Cpu, Flaw, Gate, Machine, Mode
from analyze.logs.fuzz import differences, make
from analyze.logs.qemu_writer import VERSIONS, Reset, Version, at_reset, pieces

from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.render.json import as_dict
from cr3scope.render.text import render
from cr3scope.verdict.log import judge_log

OLD, NEW = VERSIONS[1], VERSIONS[4]
RSP = 0x30_8000


def cpu(number: int = 0, **more: Any) -> Cpu:
    """A kernel in long mode in whose IDT all is well."""
    made = Cpu(Mode.LONG, number, rip=0x20_1000, rsp=RSP + 0x8000 * number, flags=2 | IF, cr3=0x5000, cr4=PAE, efer=0x500 | NXE)
    made.gdt = (0x30_2000, 0x2F)
    made.idt, made.task = (0x30_0000, 0xFFF), (0x28, 0x30_3000 + 0x100 * number, 0x67)
    made.gates = {vector: Gate(0x20_8000 + vector * 0x40, dpl=3 * (vector == 0x80)) for vector in range(0x81)}
    for name, value in more.items():
        setattr(made, name, value)
    return made


def judged(folder: Path, told: list[Any], version: Version = NEW, items: str = "int") -> tuple[dict[str, Any], str]:
    """The verdict's document, and its words as one line."""
    (folder / "log").write_text("".join(piece.text for piece in pieces(told, version, items)))
    with LogFile(folder / "log") as log:
        verdict = judge_log(read_story(log))
    return as_dict(verdict), " ".join(render(verdict).split())


def handled(machine: Machine, one: Cpu, vector: int, times: int = 1) -> None:
    for _ in range(times):
        before = one.snapshot()
        assert machine.raise_(one, vector)
        one.rip, one.rsp, one.cpl, one.flags = before.rip, before.rsp, before.cpl, before.flags


def tick(machine: Machine, one: Cpu, vector: int = 0x20) -> None:
    one.rip += 0x100
    before = one.snapshot()
    assert machine.interrupt(one, vector, INTERRUPT)
    one.rip, one.rsp, one.flags = before.rip, before.rsp, before.flags


def test_a_loop_of_emulated_instructions_that_was_left_is_no_storm(tmp_path: Path) -> None:
    machine, one = Machine(0), cpu()
    handled(machine, one, 6, 30)
    still, _ = judged(tmp_path, machine.happened)
    assert still["observation"]["outcome"] == "storm"
    tick(machine, one)
    document, words = judged(tmp_path, machine.happened)
    assert (document["verdict"], document["observation"]["outcome"]) == ("healthy", "ran")
    assert "again and again" not in words


def test_a_storm_is_led_into_by_the_fault_before_it_not_by_an_earlier_one(tmp_path: Path) -> None:
    machine, one = Machine(0), cpu()
    handled(machine, one, 6)
    one.rip, one.rsp, handler = 0x20_2000, RSP - 0x400, one.gates[PF].handler
    one.away = [(handler, handler)]
    assert machine.raise_(one, PF, 0, 0x45, "read")
    for _ in range(20):
        assert machine.raise_(one, PF, 0x10, handler, "fetch")
    document, _ = judged(tmp_path, machine.happened)
    assert document["observation"]["outcome"] == "storm"
    assert (document["observation"]["fatal"]["vector"], document["observation"]["fatal"]["cr2"]) == (PF, "0x45")


@pytest.mark.parametrize("vector", [8, 9])
def test_an_interrupt_of_an_old_qemu_on_an_exceptions_vector_is_an_interrupt(vector: int, tmp_path: Path) -> None:
    machine, one = Machine(0), cpu()
    handled(machine, one, 6)
    one.gates = {}
    one.rip += 0x100
    machine.interrupt(one, vector, INTERRUPT)
    document, words = judged(tmp_path, machine.happened, OLD)
    assert (document["observation"]["fatal"]["kind"], document["observation"]["fatal"]["vector"]) == ("interrupt", vector)
    assert words.startswith(f"FAULTED: hardware interrupt {vector:#04x}")


def test_a_double_fault_of_an_old_qemu_is_none(tmp_path: Path) -> None:
    machine, one = Machine(0), cpu(gates={DF: Gate(0x20_9000)})
    assert machine.raise_(one, GP)
    document, _ = judged(tmp_path, machine.happened, OLD)
    assert [event["kind"] for event in document["observation"]["events"]] == ["exception", "exception"]


def test_a_stack_pointer_that_is_not_canonical_is_the_reason_and_no_selector(tmp_path: Path) -> None:
    machine = Machine(0)
    machine.interrupt(cpu(rsp=0x8000_1234_0000), 0x80, INT)
    document, words = judged(tmp_path, machine.happened)
    assert [event["why"] for event in document["observation"]["events"]] == ["stack-bad"] * 3
    assert document["observation"]["fatal"]["kind"] == "int" and "selector" not in words


def test_an_int_of_a_program_may_have_failed_for_its_gates_dpl(tmp_path: Path) -> None:
    one = cpu(cpl=3, rip=0x40_0000, rsp=0x7000_0000, stack0=RSP)
    one.gates[0x80] = Gate(0x20_9000)
    machine = Machine(0)
    assert machine.interrupt(one, 0x80, INT)
    document, words = judged(tmp_path, machine.happened)
    assert document["observation"]["events"][0]["why"] == "gate-bad-or-privileged"
    assert "not for programs" in words and "its selector is bad" not in words


def test_a_program_without_a_task_register_has_no_tss(tmp_path: Path) -> None:
    machine = Machine(0)
    machine.raise_(cpu(cpl=3, rip=0x40_0000, rsp=0x7000_0000, task=(0, 0, 0xFFFF), away=[(0, 0xFFF)]), PF, 6, 0x5000, "write")
    document, words = judged(tmp_path, machine.happened)
    assert document["observation"]["events"][0]["why"] == "tss-unmapped" and "push" not in words
    assert "no TSS is loaded" in words


def test_the_registers_at_the_reset_are_those_of_the_cpu_that_died(tmp_path: Path) -> None:
    machine, one, other = Machine(0), cpu(1, away=[(0x30_0000, 0x30_0FFF)]), cpu(cr2=0x30_7FF8)
    tick(machine, other)
    machine.raise_(one, PF, 0, 0x45, "read")
    document, _ = judged(tmp_path, [*machine.happened, Reset((other, one), 1)], items="both")
    assert [event["why"] for event in document["observation"]["events"]] == ["idt-unmapped"] * 2


def test_the_same_kernels_next_boot_is_another_boot(tmp_path: Path) -> None:
    told: list[Any] = []
    for number in range(3):
        machine = Machine(number)
        handled(machine, (one := cpu()), 6)
        one.gates = {}
        machine.raise_(one, GP)
        told += machine.happened
    assert judged(tmp_path, told)[0]["observation"]["boots"] == 3


def test_interrupts_before_the_first_record_are_of_the_same_boot(tmp_path: Path) -> None:
    machine, real = Machine(0), at_reset()
    machine.interrupt(real, 8, INTERRUPT)
    machine.raise_(cpu(gates={}), GP)
    assert judged(tmp_path, machine.happened)[0]["observation"]["boots"] == 1


def test_a_death_for_certain_goes_before_a_fault_like_others_that_the_log_ends_with(tmp_path: Path) -> None:
    first, second, one = Machine(0), Machine(1), cpu()
    first.raise_(cpu(gates={}), GP)
    for address in (0x6000, 0x7000, 0x8000):
        before = one.snapshot()
        assert second.raise_(one, PF, 2, address, "write")
        one.rip, one.rsp, one.flags = before.rip + 8, before.rsp, before.flags
    document, _ = judged(tmp_path, [*first.happened, Reset((cpu(),), 1), *second.happened], items="both")
    assert (document["observation"]["outcome"], document["observation"]["fatal"]["vector"]) == ("triple-fault", GP)


def test_it_is_not_said_that_an_exception_was_handled_of_which_nobody_knows(tmp_path: Path) -> None:
    machine, one = Machine(0), cpu()
    one.gates = {vector: Gate(gate.handler, Flaw.NULL) for vector, gate in one.gates.items()}
    machine.raise_(one, 6)  # becomes #GP(0), which the instruction itself might have raised
    _, words = judged(tmp_path, machine.happened)
    assert "whether it was handled is not known" in words or "came first" not in words


def test_an_instruction_that_reaches_into_the_next_page_may_read_or_be_fetched(tmp_path: Path) -> None:
    machine = Machine(0)
    machine.raise_(cpu(rip=0x6FFA, efer=0x500), PF, 0, 0x7000, "fetch")
    document, words = judged(tmp_path, machine.happened)
    assert document["observation"]["fatal"]["access"] is None and "read or instruction fetch" in words


def test_another_cpu_that_goes_on_does_not_make_a_log_healthy(tmp_path: Path) -> None:
    machine, one, other = Machine(0), cpu(0, cr3=0x6000), cpu(1)
    machine.raise_(one, 6)
    handled(machine, other, 7)
    tick(machine, other)
    document, _ = judged(tmp_path, machine.happened)
    assert (document["verdict"], document["observation"]["fatal"]["vector"]) == ("faulted", 6)


def test_a_head_that_is_cut_leaves_the_double_fault(tmp_path: Path) -> None:
    machine = Machine(0)
    machine.raise_(cpu(gates={}), PF, 0, 0x45, "read")
    document, _ = judged(tmp_path, machine.happened[1:])
    assert (document["observation"]["outcome"], document["observation"]["fatal"]["vector"]) == ("triple-fault", DF)


def started_anew(one: Cpu) -> str:
    """What QEMU writes of a CPU but the first that is sent INIT: its registers before that (SDM 3A, 10.4)."""
    reset = Reset((at_reset(), one), 1)
    return next(piece.text for piece in pieces([reset], NEW, "both") if piece.text.startswith("CPU Reset (CPU 1)"))


def judged_text(folder: Path, text: str) -> tuple[dict[str, Any], str]:
    (folder / "log").write_text(text)
    with LogFile(folder / "log") as log:
        verdict = judge_log(read_story(log))
    return as_dict(verdict), " ".join(render(verdict).split())


def test_another_cpu_that_is_started_anew_is_no_reset_of_the_machine(tmp_path: Path) -> None:
    machine, one = Machine(0), cpu()
    tick(machine, one)
    text = started_anew(cpu(1)) + "".join(piece.text for piece in pieces(machine.happened, NEW, "both"))
    document, _ = judged_text(tmp_path, text)
    assert document["verdict"] == "healthy"


def test_code_that_went_on_after_another_cpu_was_started_anew_went_on(tmp_path: Path) -> None:
    machine, one = Machine(0), cpu()
    handled(machine, one, 6)
    tick(machine, one)
    first, *later = (piece.text for piece in pieces(machine.happened, NEW, "both"))
    document, words = judged_text(tmp_path, "".join((first, started_anew(cpu(1)), *later)))
    assert document["verdict"] == "healthy", words


def test_an_interrupt_of_another_cpu_between_the_triple_fault_and_the_reset_begins_no_boot(tmp_path: Path) -> None:
    """Neither has a task register: firmware has none. Seen where the host was busy."""
    machine, boot_cpu = Machine(0), cpu(0, task=(0, 0, 0xFFFF), cr3=0x6000)
    dead = cpu(1, task=(0, 0, 0xFFFF), gates={})
    at_start = Reset((at_reset(), at_reset()), 2)
    tick(machine, boot_cpu)
    machine.raise_(dead, PF, 0x10, 0x20_1000, "fetch")
    tick(machine, boot_cpu)
    told = [at_start, *machine.happened, Reset((boot_cpu, dead), 1)]
    document, words = judged(tmp_path, told, VERSIONS[0], items="both")
    seen = document["observation"]
    assert seen["cpu"] == "CPU 1 of 2: at the reset it had the registers of the last exception", words
    assert "boots" not in seen or seen["boots"] == 1, words
    assert (seen["outcome"], seen["fatal"]["vector"]) == ("triple-fault", PF)


def test_a_record_that_lost_its_announcement_is_no_double_fault_where_the_next_was_raised_while_nothing_was_delivered(
    tmp_path: Path,
) -> None:
    one = cpu(cpl=3, rip=0x40_1000, stack0=RSP, away=[(RSP - 0x800, RSP - 1)])
    machine = Machine(0)
    machine.interrupt(one, DF, INTERRUPT)  # a PIC that was not remapped
    document, words = judged(tmp_path, machine.happened, VERSIONS[0])
    assert (document["observation"]["fatal"]["kind"], document["observation"]["fatal"]["vector"]) == (INTERRUPT, DF), words
    assert "#DF was delivered: #PF" not in words


def test_where_no_boot_surely_died_it_may_be_about_the_last(tmp_path: Path) -> None:
    case = make(56129)
    assert differences(case, tmp_path / "log") == [] and case.meaning.told[-1].boot.number == 1
