"""gdb on kernels that turn paging on in 32-bit code: the mov to CR0 is the switch."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from boot.reference import ROOT
from gdb_session import session, unwrapped

_SOURCES = ROOT / "tests/boot/foreign/protected"


def built(kernel: Path, *defines: str) -> None:
    subprocess.run(["gcc", "-m32", "-g", "-nostdlib", "-static", "-no-pie", *(f"-D{one}" for one in defines),
                    f"-Wl,-T,{_SOURCES}/kernel.ld,-z,max-page-size=4096,--build-id=none,-z,noexecstack,--no-warn-rwx-segments",
                    "-o", kernel, _SOURCES / "kernel.S"], check=True)  # fmt: skip


def at_switch(folder: Path, commands: str, *defines: str, first: str = "") -> str:
    """What gdb prints for commands at the switch, ``first`` before the project's script was sourced."""
    kernel = folder / "kernel.elf"
    built(kernel, *defines)
    command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "64", "-kernel", str(kernel), "-no-reboot"]
    return unwrapped(session(folder, command, f'file "{kernel}"\nhbreak set_paging\ncontinue\n{commands}', first=first))


def test_check_judges_the_mov_to_cr0_that_turns_paging_on(tmp_path: Path) -> None:
    """Every command was refused before: the guest was not in long mode."""
    text = at_switch(tmp_path, "cr3scope check\n", "MODE=PSE", "CR4_BITS=0")
    assert "verdict: faults at the next fetch: #PF (error 0000: instruction fetch, not present), CR2=0x1000" in text, text
    assert "rule: large-pages-off: PD[0] has PS set, but CR4.PSE is 0" in text and "ends: triple-fault" in text, text


def test_the_healthy_twin_survives_it(tmp_path: Path) -> None:
    text = at_switch(tmp_path, "cr3scope check\n", "MODE=PSE")
    assert "verdict: survives 256 instructions (CR3 0x1" in text and "rule: " not in text, text
    assert "entry        fetch  0x00000000c0108000  ok" in text, text


def test_maps_and_walk_read_the_tables_of_32_bit_code(tmp_path: Path) -> None:
    text = at_switch(tmp_path, "hbreak high_entry\ncontinue\ncr3scope maps\ncr3scope walk 0xc0108000\n", "MODE=PSE")
    assert "PD[768]" in text and "4 MiB" in text, text


def test_fault_reads_a_frame_of_32_bit_words(tmp_path: Path) -> None:
    """It was read as one of long mode; `handoff` told registers that 32-bit code does not have."""
    text = at_switch(tmp_path, "hbreak *&handler\ncontinue\ncr3scope fault\ncr3scope handoff\n", "MODE=SMALL")
    assert re.search(r"#BP\nframe: RIP=0xc01080[0-9a-f]{2} CS=0x8 RFLAGS=0x[0-9a-f]+ RSP=0xc0182ffc SS=0x10\n", text), text
    assert "the guest is in protected mode: the ABIs are those of 64-bit code" in text, text


def test_break_and_step_know_every_switch_of_the_way_to_long_mode(tmp_path: Path) -> None:
    """Only `mov cr3` was known: the climb went by without a stop, and step refused what it stood at."""
    kernel = tmp_path / "kernel.elf"
    built(kernel, "MODE=CLIMB")
    command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "64", "-kernel", str(kernel), "-no-reboot"]
    stops = "continue\n" * 4 + "cr3scope step --entry\n"
    text = unwrapped(session(tmp_path, command, f'file "{kernel}"\nhbreak _start\ncontinue\ncr3scope break\n{stops}'))
    assert re.search(r"\d+ switches in \S+/kernel.elf: ", text), text
    for kind in ("mov cr0 0x", "mov cr3 0x", "mov cr4 0x", "wrmsr 0x", "ljmp 0x"):
        assert kind in text, text
    assert re.search(r"after it: RIP=0x[0-9a-f]+ CR0=\S+ .*, protected mode, 32-bit code, paging: none", text), text
    assert len(re.findall(r"verdict: survives \d+ instructions \(", text)) == 5, text
    assert "entry        fetch  0x00000000c0108000  ok" in text and "at the entry, RIP=0xc0108000, and no exception has come" in text, text


def test_step_over_the_mov_to_cr0_goes_on_to_the_fault(tmp_path: Path) -> None:
    text = at_switch(tmp_path, "cr3scope step\n", "MODE=PSE", "CR4_BITS=0")
    assert "rule: large-pages-off" in text and "no handler can be entered" in text, text


def test_check_follows_another_cpu_from_its_start_up_interrupt_to_64_bit_code(tmp_path: Path) -> None:
    """The guest is in real mode: every command said that there is no paging to show."""
    kernel, sources = tmp_path / "kernel.elf", ROOT / "tests/boot/foreign/smp"
    subprocess.run(["gcc", "-m32", "-nostdlib", "-static", "-no-pie", f"-Wl,-T,{sources}/kernel.ld,--build-id=none,-z,noexecstack,--no-warn-rwx-segments",
                    "-DAP_CODE_64=0x10", "-o", kernel, sources / "kernel.S"], check=True)  # fmt: skip
    command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "64", "-smp", "2", "-kernel", str(kernel), "-no-reboot"]
    mended = "set *(unsigned short *) 0x8054 = 0x18\ncr3scope check\n"
    text = unwrapped(session(tmp_path, command, f"hbreak *0x8000\ncontinue\ncr3scope check\n{mended}cr3scope step\n"))
    assert "0x00cf93000000ffff" in text, text
    wrong, survives, healthy = text.partition("verdict: survives")
    assert "verdict: faults at the instruction" in wrong and "#GP (error 0010" in wrong, text
    assert survives and "entry        fetch  0x0000000000100171  ok" in healthy and "FAULTS" not in healthy, text
    assert "the guest is in real mode: there is no paging to show" in healthy, text
