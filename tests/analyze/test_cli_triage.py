"""`cr3scope triage` beyond the first exception: symbols, the last thing seen, what is no log."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from analyze.storm_log import (
    DUMP, FIRMWARE_CR3, GDT, IDT, NEW_CR3, RESET, STACK, SWITCH, TRIPLE, firmware, record, storm,
)  # fmt: skip

from cr3scope.cli.main import main

KERNEL_BASE = 0xFFFF_FFFF_8000_0000
SOURCE = """\
int counter;

__asm__(".globl entry\\nentry: mov %rax, %cr3\\n.globl after\\nafter: jmp work");

int work(int by) {
    return counter += by;
}
"""
WORK_LINE = 6
SCREEN = b"""\
BdsDxe: starting Boot0001
!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000003 !!!!
ExceptionData - 0000000000000010  I:1 R:0 U:0 W:0 P:0 PK:0 SS:0 SGX:0
RIP  - 000000000DF8B05B, CS  - 0000000000000038, RFLAGS - 0000000000010046
CR0  - 0000000080010033, CR2 - 000000000DF8B05B, CR3 - 000000000DFAB000
"""


def triage(folder: Path, content: str | bytes, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON verdict."""
    log, target = folder / "int.log", folder / "verdict.json"
    log.write_bytes(content.encode() if isinstance(content, str) else content)
    status = main(["triage", str(log), "--json", str(target), *options])
    verdict: dict[str, Any] = json.loads(target.read_text())
    return status, verdict


def built(folder: Path, *options: str) -> Path:
    (folder / "kernel.c").write_text(SOURCE)
    command = ["gcc", "-g", "-O1", "-nostdlib", "-ffreestanding", "-fno-stack-protector", *options]
    subprocess.run([*command, "-o", "kernel.elf", "kernel.c"], cwd=folder, check=True, timeout=60)
    return folder / "kernel.elf"


def symbols(elf: Path) -> dict[str, int]:
    listed = subprocess.run(["nm", elf], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return {row[2]: int(row[0], 16) for row in rows if len(row) == 3}


def linked_kernel(folder: Path) -> Path:
    return built(folder, "-static", "-no-pie", "-mcmodel=kernel", "-fno-pic", "-Wl,-e,entry",
                 f"-Wl,-Ttext={KERNEL_BASE:#x}", f"-Wl,-Tbss={KERNEL_BASE + 0x10000:#x}")  # fmt: skip


def loader(folder: Path) -> Path:
    return built(folder, "-fPIC", "-shared", "-Wl,-e,entry", "-Wl,-Bsymbolic")


def fault_at(rip: int, cr2: int, error: int = 0x2) -> str:
    return "".join([*firmware(), record(150, 14, error, rip=rip, cr2=cr2)])


def test_elf_at_its_run_address_names_function_line_and_data(tmp_path: Path) -> None:
    elf = linked_kernel(tmp_path)
    at = symbols(elf)
    content = fault_at(at["work"], at["counter"])
    _, verdict = triage(tmp_path, content, "--elf", str(elf))
    assert verdict["observation"]["places"] == [
        {"name": "RIP", "address": hex(at["work"]), "symbol": "work",
         "source": f"kernel.c:{WORK_LINE}", "source_text": "return counter += by;", "image": None},
        {"name": "CR2", "address": hex(at["counter"]), "symbol": "counter", "source": None,
         "source_text": None, "image": None},
    ]  # fmt: skip


def test_elf_of_another_program_names_nothing(tmp_path: Path) -> None:
    elf = linked_kernel(tmp_path)
    _, verdict = triage(tmp_path, fault_at(0x1234, 0x5678), "--elf", str(elf))
    assert verdict["observation"]["places"] == []


def test_relocatable_elf_is_found_by_its_mov_cr3(tmp_path: Path) -> None:
    elf = loader(tmp_path)
    rip = 0xDF7C000 + symbols(elf)["after"]
    _, verdict = triage(tmp_path, fault_at(rip, rip, 0x11), "--elf", str(elf))
    assert [place["symbol"] for place in verdict["observation"]["places"]] == ["after"]
    assert "taken as loaded at 0xdf7c000" in verdict["diagnostics"][-1]["message"]


def test_relocatable_elf_without_a_base_asks_for_one(tmp_path: Path) -> None:
    elf = loader(tmp_path)
    rip = 0xDF7C123 + symbols(elf)["work"]
    _, verdict = triage(tmp_path, fault_at(rip, 0), "--elf", str(elf))
    assert verdict["observation"]["places"] == []
    assert "kernel.elf@BASE" in verdict["diagnostics"][-1]["message"]


def test_base_that_the_user_gives_is_where_the_elf_lies(tmp_path: Path) -> None:
    elf = loader(tmp_path)
    rip = 0xDF7C000 + symbols(elf)["work"]
    _, verdict = triage(tmp_path, fault_at(rip, 0), "--elf", f"{elf}@df7c000")
    assert verdict["observation"]["places"][0]["symbol"] == "work"
    assert verdict["diagnostics"] == []


def test_base_moves_an_elf_that_is_linked_elsewhere(tmp_path: Path) -> None:
    """As a kernel that chose its place at random: BASE is where its lowest segment lies."""
    elf = linked_kernel(tmp_path)
    header = subprocess.run(["readelf", "-lW", elf], capture_output=True, text=True, check=True)
    lowest = min(
        int(line.split()[2], 16) for line in header.stdout.splitlines() if " LOAD " in f" {line} "
    )
    moved = 0x1C00_0000
    rip = symbols(elf)["work"] + moved
    _, verdict = triage(tmp_path, fault_at(rip, 0), "--elf", f"{elf}@{lowest + moved:#x}")
    assert verdict["observation"]["places"][0]["symbol"] == "work"


def test_storms_handler_is_named_as_well(tmp_path: Path) -> None:
    elf = loader(tmp_path)
    base = SWITCH - symbols(elf)["after"]
    handler = base + symbols(elf)["work"]
    pieces = [*firmware(), record(150, 14, 0x11, cr2=SWITCH)]
    pieces += [record(151 + i, 14, 0x11, rip=handler, cr2=handler) for i in range(40)]
    _, verdict = triage(tmp_path, "".join(pieces), "--elf", f"{elf}@{base:x}")
    assert [p["symbol"] for p in verdict["observation"]["places"]] == ["after", "work"]


@pytest.mark.parametrize("words", ["kernel.elf@", "kernel.elf@soon", "@1000", "x@-1", "x@1" + "0" * 16])
def test_base_that_is_no_address_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["triage", "int.log", "--elf", words])
    assert stopped.value.code == 2
    assert "FILE@BASE" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"MZ", b"\x7fELF", b"\x7fELF" + b"\xff" * 4096])
def test_elf_that_cannot_be_used_is_one_line(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.elf").write_bytes(content)
    (tmp_path / "int.log").write_text(fault_at(SWITCH, SWITCH))
    assert main(["triage", str(tmp_path / "int.log"), "--elf", str(tmp_path / "bad.elf")]) == 2
    error = capsys.readouterr().err
    assert "bad.elf" in error and error.count("\n") == 1 and "internal" not in error


def test_switch_is_told_with_both_roots_and_its_place(tmp_path: Path) -> None:
    content = "".join(chain(firmware(), storm(40, 150)))
    _, verdict = triage(tmp_path, content)
    place = content.index(f"CR3={NEW_CR3:016x}")
    assert verdict["observation"]["switch"] == {
        "cr3": hex(NEW_CR3), "before": hex(FIRMWARE_CR3), "offset": place,
    }  # fmt: skip


def test_switch_of_a_log_with_mmu_is_where_cr3_was_loaded(tmp_path: Path) -> None:
    begin = "".join(firmware())
    update = f"CR3 update: CR3={NEW_CR3:016x}\n"
    text = "IN: \n0x0e3a6119:  c3  retq\n\n" * 500
    content = begin + update + text + record(150, 14, 0x11, cr2=SWITCH)
    _, verdict = triage(tmp_path, content)
    assert verdict["observation"]["switch"]["offset"] == len(begin)


def test_log_without_a_fault_says_what_the_guest_was_last_seen_doing(tmp_path: Path) -> None:
    status, verdict = triage(tmp_path, "".join(firmware(20)))
    assert (status, verdict["verdict"]) == (0, "healthy")
    assert verdict["observation"]["last"] == (
        f"interrupt 0x20 (record 19) at RIP={0xF051266 + 19:#x}, CR3={FIRMWARE_CR3:#x}, 64-bit, CPL 0,"
        " interrupts off"
    )
    assert "cr3scope run" in verdict["diagnostics"][0]["message"]


def test_switch_that_nothing_follows_is_the_last_thing_seen(tmp_path: Path) -> None:
    _, verdict = triage(tmp_path, "".join(firmware()) + f"CR3 update: CR3={NEW_CR3:016x}\n")
    assert f"then CR3={NEW_CR3:#x} was loaded" in verdict["observation"]["last"]


def test_halted_guest_is_told_so(tmp_path: Path) -> None:
    begin = "".join(firmware(3))
    _, verdict = triage(tmp_path, begin[: begin.rindex("HLT=0")] + "HLT=1\nES =0030 \n")
    assert "halted, interrupts off" in verdict["observation"]["last"]


def test_log_of_resets_alone_is_not_judged(tmp_path: Path) -> None:
    status, verdict = triage(tmp_path, RESET * 2)
    assert (status, verdict["verdict"]) == (2, "incomplete")
    assert "KVM" in verdict["diagnostics"][0]["message"]


def test_reset_of_a_running_machine_without_an_exception_is_no_health(tmp_path: Path) -> None:
    dump = DUMP.format(rip=0xE3A7000, rsp=STACK, cr2=0, cr3=NEW_CR3, idt=IDT, gdt=GDT)
    content = "".join(firmware()) + "CPU Reset (CPU 0)\n" + dump + RESET
    status, verdict = triage(tmp_path, content)
    assert (status, verdict["verdict"]) == (1, "faulted")
    assert "reset without an exception: reset of CPU 0 at RIP=0xe3a7000" in (
        verdict["observation"]["detail"]
    )


def test_screen_of_the_firmware_in_a_serial_log_is_judged(tmp_path: Path) -> None:
    status, verdict = triage(tmp_path, SCREEN)
    assert (status, verdict["verdict"]) == (1, "faulted")
    seen = verdict["observation"]
    assert (seen["first"]["vector"], seen["first"]["error_code"]) == (14, 0x10)
    assert seen["first"]["cr2"] == "0xdf8b05b" and seen["source"] == "the firmware's screen"
    assert "APIC id 3" in seen["cpu"]


def test_screen_counts_where_interrupts_and_serial_port_share_a_file(tmp_path: Path) -> None:
    _, verdict = triage(tmp_path, "".join(firmware()).encode() + SCREEN)
    assert verdict["observation"]["first"]["cr2"] == "0xdf8b05b"


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a file is refused."""
    assert main(["triage", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


def test_capture_given_as_log_is_sent_to_analyze(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "serial.log"
    path.write_text("@c3s1 0 begin producer=x #00000000\n")
    assert f"cr3scope analyze {path}" in refused(path, capsys)


@pytest.mark.parametrize("content", [b"", b"\x7fELF" + bytes(9000), b"hello\x1b[31m\n", bytes(1 << 20)])
def test_what_is_no_log_is_one_line(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd\x1b[2J.log").write_bytes(content)
    error = refused(tmp_path / "odd\x1b[2J.log", capsys)
    assert "\x1b" not in error


def test_directory_and_missing_file_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "directory" in refused(tmp_path, capsys)
    assert "absent" in refused(tmp_path / "absent", capsys)


def test_escape_sequences_of_a_log_never_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = "\x1b]0;x\x07".join([*firmware(3), record(150, 14, 0x11, cr2=SWITCH)])
    triage(tmp_path, content)
    assert "\x1b" not in capsys.readouterr().out


def test_fifo_is_read_to_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    content = "".join(chain(firmware(), storm(40, 150)))
    writer = threading.Thread(target=fifo.write_text, args=(content,))
    writer.start()
    assert main(["triage", str(fifo)]) == 1
    writer.join(timeout=60)
    assert capsys.readouterr().out.startswith("FAULTED: #PF (error 0011")


def test_dead_cpu_is_numbered_by_the_reset_that_follows(tmp_path: Path) -> None:
    def reset(cpu: int, rip: int, rsp: int) -> str:
        dump = DUMP.format(rip=rip, rsp=rsp, cr2=0, cr3=NEW_CR3, idt=IDT, gdt=GDT)
        return f"CPU Reset (CPU {cpu})\n{dump}"

    died = [
        record(150, 14, 0x10, cr2=SWITCH), record(151, 8, cr2=IDT + 14 * 16, old=14), TRIPLE,
    ]  # fmt: skip
    begin = [RESET + RESET.replace("CPU 0", "CPU 1"), *firmware()]
    others = reset(0, 0xF6E8425, 0xFEA0000), reset(1, SWITCH, STACK)
    _, verdict = triage(tmp_path, "".join([*begin, *died, *others]))
    assert verdict["observation"]["cpu"].startswith("CPU 1 of 2: ")
    _, verdict = triage(tmp_path, "".join([*begin, *died]))
    assert "CPU 1" not in verdict["observation"]["cpu"]
    assert "of 2" in verdict["observation"]["cpu"]


def test_dead_cpu_without_a_task_register_is_not_the_one_that_had_one(tmp_path: Path) -> None:
    """QEMU 11 dumps each CPU as it is after the reset: nothing there is of the one that died."""
    far = STACK - 0x100000
    died = [
        record(150, 14, 0x10, rsp=far, cr2=SWITCH), record(151, 8, rsp=far, cr2=IDT + 14 * 16, old=14), TRIPLE,
    ]  # fmt: skip
    both = RESET + RESET.replace("CPU 0", "CPU 1")
    ticks = [of_task(each, 0xFCC8058) for each in firmware()][1:]
    _, verdict = triage(tmp_path, "".join([both, *ticks, *died, both]))
    assert verdict["observation"]["cpu"].startswith("probably CPU 1 of 2: it has no task register"), verdict
    three = both + RESET.replace("CPU 0", "CPU 2")
    _, verdict = triage(tmp_path, "".join([three, *ticks, *died, three]))
    assert verdict["observation"]["cpu"].startswith("one of 3: "), verdict


def test_log_of_one_cpus_thread_tells_its_number(tmp_path: Path) -> None:
    """As `-d int,cpu_reset,tid -D int-%d.log` writes one for each."""
    begin = RESET.replace("CPU 0", "CPU 3")
    _, verdict = triage(tmp_path, begin + record(0, 14, 0x10, cr2=SWITCH))
    assert verdict["observation"]["cpu"].startswith("CPU 3: ")


def of_task(words: str, base: int) -> str:
    """A record of a CPU that has loaded TR."""
    return words.replace("TR =0000 0000000000000000", f"TR =0040 {base:016x}")


def test_dead_cpu_among_others_that_run_on_is_found_by_its_task_register(tmp_path: Path) -> None:
    one, two = 0xFFFF_8000_0000_3000, 0xFFFF_8000_0003_E000
    died = [
        record(150, 14, 0x10, cr2=SWITCH), record(153, 8, cr2=IDT + 14 * 16, old=14),
    ]  # fmt: skip
    handled = [record(n, 14, 2, rip=0x5000 + n, rsp=STACK + 0x9000, cr2=n) for n in range(151, 153)]
    late = [record(n, 14, 2, rip=0x5000 + n, rsp=STACK + 0x9000, cr2=n) for n in range(154, 160)]
    pieces = [
        *firmware(), of_task(died[0], two), *(of_task(each, one) for each in handled),
        of_task(died[1], two), TRIPLE, *(of_task(each, one) for each in late),
    ]  # fmt: skip
    status, verdict = triage(tmp_path, "".join(pieces))
    seen = verdict["observation"]
    assert (status, seen["outcome"]) == (1, "triple-fault")
    assert seen["first"]["cr2"] == hex(SWITCH) and seen["records"] == 2
    assert f"TR base={two:#x}" in seen["cpu"]


def test_line_of_another_cpu_before_a_record_does_not_hide_the_exception(tmp_path: Path) -> None:
    """QEMU writes a line and a record at a time: other threads come in between."""
    announced, rest = record(150, 14, 0x11, cr2=SWITCH).split("\n", 1)
    tick = record(149, 0x20, rip=0xF051266, cr3=FIRMWARE_CR3, old=None)
    serviced, tick_rest = tick.split("\n", 1)
    for between, after in ((tick, ""), (f"{serviced}\n", tick_rest)):
        begin = RESET.replace("CPU 0", "CPU 1") + "".join(firmware(149))
        content = begin + announced + "\n" + between + rest + after
        status, verdict = triage(tmp_path, content)
        assert (status, verdict["observation"]["first"]["cr2"]) == (1, hex(SWITCH))


def test_cpu_that_fell_silent_is_told_though_another_goes_on(tmp_path: Path) -> None:
    fault = of_task(record(150, 14, 0x10, cr2=SWITCH), 0xFFFF_8000_0003_E000)
    ticks = [of_task(record(n, 0x20, rip=0x5000 + n, rsp=STACK + 64, old=None), 0xFFFF_8000_0000_3000)
             for n in range(151, 180)]  # fmt: skip
    probe = of_task(record(149, 14, 2, rip=0x5000, cr2=1), 0xFFFF_8000_0000_3000)
    status, verdict = triage(tmp_path, "".join([*firmware(149), probe, fault, *ticks]))
    assert (status, verdict["observation"]["outcome"]) == (1, "delivered")
    assert verdict["observation"]["first"]["cr2"] == hex(SWITCH)
