"""Guests that turn paging on in 32-bit code, or never: Multiboot kernels by QEMU's -kernel, boot sectors by SeaBIOS."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from boot.guest import NO_WHO, judge
from boot.protected_rows import BIOS, DEVICE, MODES, ROWS, SECTORS, Row
from boot.reference import Run

_SOURCES = Path(__file__).parent / "foreign/protected"
EXIT = ("-device", "isa-debug-exit,iobase=0xf4,iosize=4")
QEMU = ("qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "64", *EXIT)
_GCC = ("gcc", "-m32", "-g", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments")
SECONDS = 30
_BIOS = range(0xC0000, 0x100000)  # where every PC has it


def built_kernel(folder: Path, mode: str, defines: Sequence[str] = ()) -> Path:
    """kernel.S of that mode, built with these constants."""
    kernel = folder / "kernel.elf"
    told = [f"-D{one}" for one in (f"MODE={mode}", *defines)]
    subprocess.run([*_GCC, f"-Wl,-T,{_SOURCES}/kernel.ld,-z,max-page-size=4096", *told, "-o", kernel, _SOURCES / "kernel.S"],
                   check=True)  # fmt: skip
    return kernel


def boot_kernel(folder: Path, mode: str, defines: Sequence[str] = (), has_file: bool = True, who: str = NO_WHO) -> Run:
    """The verdict on kernel.S of that mode, built with these constants; ``has_file``: with its symbols."""
    kernel = built_kernel(folder, mode, defines)
    return judge(folder, [*QEMU, "-kernel", str(kernel)], SECONDS, [kernel] if has_file else [], who=who)


def who_of(row: Row) -> str:
    """Whether it is asked who wrote what is guilty: of rows of which it is known."""
    return "--who" if row.entry is not None or row.wrote else NO_WHO


def boot_sector(folder: Path, defines: Sequence[str] = (), who: str = NO_WHO, options: Sequence[str] = ()) -> Run:
    """The verdict on sector.S; ``options``: of QEMU, beside what every guest here has."""
    sector, image = folder / "sector.elf", folder / "sector.img"
    subprocess.run([*_GCC, "-Wl,-Ttext=0x7c00,-e,start", *(f"-D{one}" for one in defines), "-o", sector, _SOURCES / "sector.S"],
                   check=True)  # fmt: skip
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", sector, image], check=True)
    return judge(folder, [*QEMU, *options, "-drive", f"file={image},format=raw"], SECONDS, who=who)


@pytest.mark.parametrize("mode", [pytest.param(mode, marks=pytest.mark.quick if mode == "PSE" else ()) for mode in MODES])
def test_the_kernel_is_healthy_in_each_mode(mode: str, tmp_path: Path) -> None:
    run = boot_kernel(tmp_path, mode)
    assert (run.status, run.verdict["verdict"], run.verdict["findings"]) == (0, "healthy", []), run.explain()


@pytest.mark.parametrize("defines", [("FAULTS_BY_TASK=0x40", "IN_KERNEL=mov $0xd0000000, %esp; push %eax")], ids=["task"])
def test_a_double_fault_that_a_task_takes_is_handled(defines: tuple[str, ...], tmp_path: Path) -> None:
    """The stack is gone: without the task's own the machine would reset."""
    run = boot_kernel(tmp_path, "SMALL", defines)
    assert run.verdict["verdict"] == "healthy" and run.verdict["observation"]["outcome"] != "triple-fault", run.explain()


def test_qemu_s_own_cpu_compares_no_offset_with_a_limit(tmp_path: Path) -> None:
    """A row of docs/emulation.md: the stack lies far beyond the 4 KiB of its segment."""
    run = boot_kernel(tmp_path, "SMALL", ("DATA=0x0040920000000fff",))
    assert run.verdict["verdict"] == "healthy", run.explain()


# Long mode's bits change: the far jump goes to 64-bit code that clears PG, and then runs as 32-bit code, where 48h is dec eax.
_CLEARS_PG = "mov %cr0, %rax; btr $31, %eax; mov %rax, %cr0; mov $0x11, %eax; .byte 0x48; nop; 8: cmp $0x10, %eax; jne 8b; out %al, $0xf4"


@pytest.mark.parametrize(
    "define", ["IN_KERNEL=mov $0xc0000080, %ecx; xor %eax, %eax; xor %edx, %edx; wrmsr",
               f"LONG_JUMP=ljmp $0x18, $9f; .code64; 9: {_CLEARS_PG}; ud2; .code32"], ids=["LME", "PG"],
)  # fmt: skip
def test_qemu_s_own_cpu_compares_nothing_in_long_mode(define: str, tmp_path: Path) -> None:
    """A row of docs/emulation.md."""
    run = boot_kernel(tmp_path, "CLIMB", (define,))
    assert run.verdict["verdict"] == "healthy", run.explain()
    assert run.verdict["observation"]["ended"] == "exited", run.explain()


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name, marks=pytest.mark.quick if row.name == "pae-pointer" else ())
                                 for row in ROWS])  # fmt: skip
def test_the_mistake_of_a_kernel_is_named(row: Row, tmp_path: Path) -> None:
    run = boot_kernel(tmp_path, row.mode, row.defines, row.has_file, who_of(row))
    assert run.rules[:1] == [row.rule], run.explain()
    check_row(row, run)
    check_writer(row, run, tmp_path / "kernel.elf")
    if row.name == "data-read-only":  # it is mended in the model, and the code goes on
        assert "set R/W (bit 1) of PT[267]" in run.text and "with all of that mended: 256 instructions" in run.text, run.explain()
        assert "no change of the tables is known" not in run.text, run.explain()
        assert "tables.core: 3 table pages under CR3=" in run.text, run.explain()


def test_ring_3_without_a_tss_makes_qemu_give_up_which_is_said(tmp_path: Path) -> None:
    """Before, the last line of the registers that it prints was told."""
    run = boot_kernel(tmp_path, "SMALL", ("NO_TASK",))
    assert run.verdict["verdict"] == "incomplete" and "qemu: fatal: invalid tss type" in run.text, run.explain()


def test_a_boot_sector_is_healthy(tmp_path: Path) -> None:
    run = boot_sector(tmp_path)
    assert (run.status, run.verdict["findings"]) == (0, []), run.explain()


def test_a_bios_that_has_started_nothing_is_no_healthy_guest(tmp_path: Path) -> None:
    """It waits for a key, and was "still there": HEALTHY."""
    run = judge(tmp_path, [*QEMU, "-vga", "std", "-boot", "menu=on,splash-time=60000"], 3)
    assert run.verdict["verdict"] == "incomplete", run.explain()


def test_a_boot_sector_may_park_in_real_mode(tmp_path: Path) -> None:
    run = boot_sector(tmp_path, ("IN_REAL=9: hlt; jmp 9b",))
    assert (run.status, run.verdict["observation"]["outcome"], run.verdict["findings"]) == (0, "parked", []), run.explain()


def are_registers_kept(folder: Path) -> bool:
    """Whether KVM has left a CPU in a shutdown as it stood: its CR0 is not that of a reset."""
    (registers,) = folder.rglob("machine.txt")
    return re.search(r"CR0 =0x0*60000010\b", registers.read_text()) is None


@pytest.mark.parametrize("accel", ["tcg", "kvm"])
def test_a_boot_sector_that_goes_back_to_the_bios_is_reset_by_it(accel: str, tmp_path: Path) -> None:
    """It was told to mend gate 3 of an IDT that is SeaBIOS's own, or that nothing tells of its reset."""
    if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/kvm that may be used")
    run = boot_sector(tmp_path, ("IN_REAL=ljmp $0xf000, $0xfff0",), options=("-accel", accel))
    if accel == "kvm" and not are_registers_kept(tmp_path):
        pytest.skip("this KVM keeps no registers in a shutdown")
    assert (run.verdict["verdict"], run.verdict["observation"]["outcome"], run.rules) == ("faulted", "ran", ["bios-reset"]), run.explain()


def test_a_bios_that_has_nothing_to_boot_and_resets_is_said_to_boot_nothing(tmp_path: Path) -> None:
    run = judge(tmp_path, [*QEMU, "-vga", "std", "-boot", "reboot-timeout=1"], SECONDS)
    assert (run.verdict["observation"]["ended"], run.rules) == ("reset", ["nothing-booted"]), run.explain()


# What each comes to where the CPU keeps its registers in a shutdown; where it does not, nothing tells a reset's cause.
@pytest.mark.parametrize(("define", "rule"), [("IN_PROTECTED=ud2", "instruction-refused"), ("IN_PROTECTED=mov $0xfe, %al; out %al, $0x64; 9: hlt; jmp 9b", "reset-untold")])
def test_under_kvm_a_reset_is_what_the_paused_cpu_shows(define: str, rule: str, tmp_path: Path) -> None:
    """Each was a triple fault without a cause."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("there is no /dev/kvm that may be used")
    run = boot_sector(tmp_path, (define,), options=("-accel", "kvm"))
    if run.verdict["observation"]["ended"] != "reset":
        pytest.skip(f"KVM does not run this guest to its reset: {run.text.splitlines()[0]}")
    rule = rule if are_registers_kept(tmp_path) else "reset-untold"
    assert run.rules == [rule], run.explain()
    assert run.verdict["observation"]["outcome"] == ("ran" if rule == "reset-untold" else "triple-fault"), run.explain()


@pytest.mark.parametrize("row", SECTORS, ids=lambda row: str(row.name))
def test_the_mistake_of_a_boot_sector_is_named(row: Row, tmp_path: Path) -> None:
    run = boot_sector(tmp_path, row.defines, who_of(row))
    assert run.rules[:1] == [row.rule], run.explain()
    check_row(row, run)
    check_writer(row, run, tmp_path / "sector.elf")


def check_writer(row: Row, run: Run, program: Path) -> None:
    """What the row says of who wrote; the line is looked up by binutils."""
    found = run.verdict["findings"][0]
    if who_of(row) == NO_WHO:
        return
    if row.wrote is None:
        assert found["unwritten"] is True, run.explain()
        return
    if row.wrote == DEVICE:
        assert (found["writer"], found["unwritten"]) == (None, False), run.explain()
        assert "no instruction of the guest: since tests/boot/foreign/protected/kernel.S:" in " ".join(run.text.split()), run.explain()
        assert "a device has written" in " ".join(run.text.split()), run.explain()
        return
    assert found["writer"] is not None, run.explain()
    if row.wrote == BIOS:
        assert int(found["writer"]["rip"], 16) in _BIOS, run.explain()
        return
    told = subprocess.run(["addr2line", "-e", program, found["writer"]["rip"]], capture_output=True, text=True, check=True).stdout
    line = (_SOURCES / program.with_suffix(".S").name).read_text().splitlines()[int(re.findall(r":(\d+)", told)[0]) - 1]
    assert (row.wrote or "IN_") in line, (line, run.explain())


def check_row(row: Row, run: Run) -> None:
    verdict = run.verdict
    found = verdict["findings"][0]
    assert verdict["verdict"] == "faulted", run.explain()
    if row.entry is not None:
        named = re.search(rf"^   entry   {re.escape(row.entry)} at ", run.text, re.M)
        assert found["entry"] is not None and named, run.explain()
    if row.fault is not None:
        fatal = verdict["observation"]["fatal"]
        assert (fatal["vector"], fatal["error_code"], fatal["access"]) == row.fault, run.explain()
