"""A Multiboot kernel that starts a second CPU, by QEMU's -kernel: each mistake on that CPU's way is named, with its number."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from boot.guest import judge
from boot.reference import Run

_SOURCES = Path(__file__).parent / "foreign/smp"
_QEMU = ("qemu-system-x86_64", "-nodefaults", "-display", "none", "-m", "64", "-smp", "2", "-device", "isa-debug-exit,iobase=0xf4,iosize=4")
_GCC = ("gcc", "-m32", "-g", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments")
_NOT_MAPPED = "mov $directories + 8 * 3, %edi; movl $0, (%rdi)"
_LOADS, _LOADS_OTHER = "mov $0x20, %eax; ltr %ax", "mov $0x30, %eax; ltr %ax"
_COPIED = "mov $ap_task, %edx; movb $0, 3(%rdx); "  # the descriptor: it is not busy, and its base is the other's
_ELSEWHERE = "mov $pdpt + 3, %eax; mov $other_pml4, %edi; mov %eax, (%rdi); mov %rdi, %cr3; "
_TO_RING_3 = "push $0x13; push $0; push $2; push $0x1b; mov $ap_main, %ecx; push %rcx; iretq"  # its code segment is of ring 0
_X2APIC = ("-accel", "tcg", "-cpu", "qemu64,+x2apic")
SECONDS, STUCK_SECONDS = 30, 5


@dataclass(frozen=True, slots=True)
class Row:
    """One mistake. ``rule`` is the first finding's, ``vector`` the fatal exception's, None where QEMU logs none."""

    name: str
    defines: tuple[str, ...]
    rule: str
    vector: int | None
    seconds: int = SECONDS


ROWS = (
    Row("gdt", ("AP_GDT_BASE=0x40",), "ap-gdt-pointer", 13),
    Row("no-pae", ("AP_CR4=0",), "long-mode-off", 6),
    Row("no-lme", ("AP_EFER=0x800",), "long-mode-off", 14),
    Row("no-nxe", ("AP_EFER=0x100",), "nx-without-nxe", 14),
    Row("no-identity", ("AP_ROOT=other_pml4",), "identity-missing-trampoline", 14),
    Row("data-for-code", ("AP_CODE_32=0x10",), "instruction-refused", 13),
    Row("stack", ("AP_STACK=0x700000", f"IN_BSP={_NOT_MAPPED}"), "stack-unmapped", 14),
    Row("no-idt", ("AP_IDT=nop", "IN_AP=int3"), "idt-not-loaded", 3),
    Row("tss", (f"IN_BSP={_LOADS}", f"IN_AP={_LOADS}"), "ap-shared-tss", 13),
    Row("gives-up", ("IN_AP=ud2", "BSP_GOES_ON"), "instruction-refused", 6, STUCK_SECONDS),
    # The boot CPU, under another CR3, is behind no exception of this one.
    Row("gives-up-elsewhere", (f"IN_AP={_ELSEWHERE}{_TO_RING_3}", "BSP_GOES_ON"), "instruction-refused", 13, STUCK_SECONDS),
    Row("not-copied", ("NOT_COPIED",), "ap-trampoline", None, STUCK_SECONDS),
)


# The same start-up, sent by the x2APIC's one MSR.
X2APIC_ROWS = (
    Row("off", ("APIC_BASE_BITS=0x800",), "instruction-refused", 13, STUCK_SECONDS),
    Row("gdt", ("AP_GDT_BASE=0x40",), "ap-gdt-pointer", 13),
    Row("stack", ("AP_STACK=0x700000", f"IN_BSP={_NOT_MAPPED}"), "stack-unmapped", 14),
    Row("not-copied", ("NOT_COPIED",), "ap-trampoline", None, STUCK_SECONDS),
)


@pytest.fixture(scope="module")
def x2apic() -> tuple[str, ...]:
    """QEMU's words for a CPU with an x2APIC: its TCG has one since 9.0."""
    asked = [*_QEMU, *_X2APIC, "-S", "-monitor", "stdio"]
    asked[asked.index("qemu64,+x2apic")] += ",enforce"
    if subprocess.run(asked, input="quit\n", capture_output=True, text=True, check=False).returncode:
        pytest.skip("the TCG of this QEMU has no x2APIC")
    return _X2APIC


def boot_kernel(folder: Path, defines: Sequence[str] = (), seconds: int = SECONDS, cpu: Sequence[str] = ()) -> Run:
    """The verdict on kernel.S, built with these constants."""
    kernel = folder / "kernel.elf"
    told = [f"-D{one}" for one in defines]
    subprocess.run([*_GCC, f"-Wl,-T,{_SOURCES}/kernel.ld,-z,max-page-size=4096", *told, "-o", kernel, _SOURCES / "kernel.S"], check=True)
    return judge(folder, [*_QEMU, *cpu, "-kernel", str(kernel)], seconds, [kernel])


@pytest.mark.quick
def test_two_cpus_that_are_well_are_healthy(tmp_path: Path) -> None:
    run = boot_kernel(tmp_path)
    assert (run.status, run.verdict["verdict"], run.verdict["findings"]) == (0, "healthy", []), run.explain()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.name))
def test_the_mistake_on_the_second_cpu_s_way_is_named(row: Row, tmp_path: Path) -> None:
    _is_named(row, boot_kernel(tmp_path, row.defines, row.seconds))


@pytest.mark.parametrize("copied", ["", _COPIED], ids=["own", "copied"])
def test_two_cpus_with_one_tss_are_told_that_take_no_exception(copied: str, tmp_path: Path) -> None:
    run = boot_kernel(tmp_path, (f"IN_BSP={_LOADS}", f"IN_AP={copied}{_LOADS_OTHER}", "BSP_GOES_ON"), STUCK_SECONDS)
    assert run.verdict["verdict"] == "healthy", run.explain()
    assert ("ap-shared-tss" in {one["rule"] for one in run.verdict["findings"]}) == bool(copied), run.explain()


def test_a_start_by_the_x2apic_s_msr_is_healthy(x2apic: tuple[str, ...], tmp_path: Path) -> None:
    run = boot_kernel(tmp_path, ["X2APIC"], cpu=x2apic)
    assert (run.status, run.verdict["verdict"], run.verdict["findings"]) == (0, "healthy", []), run.explain()


@pytest.mark.parametrize("row", X2APIC_ROWS, ids=lambda row: str(row.name))
def test_the_mistake_of_a_start_by_the_x2apic_s_msr_is_named(row: Row, x2apic: tuple[str, ...], tmp_path: Path) -> None:
    run = boot_kernel(tmp_path, ["X2APIC", *row.defines], row.seconds, x2apic)
    if row.name == "off":
        assert "the ICR of an x2APIC, and x2APIC mode is off" in run.verdict["findings"][0]["title"], run.explain()
    else:
        _is_named(row, run)


def _is_named(row: Row, run: Run) -> None:
    assert run.rules[:1] == [row.rule], run.explain()
    assert run.verdict["verdict"] == "faulted", run.explain()
    if row.vector is None:
        assert "CPU 1 " in run.verdict["findings"][0]["title"], run.explain()
    else:
        fatal = run.verdict["observation"]["fatal"]
        assert fatal["vector"] == row.vector, run.explain()
        assert "CPU 1 of 2" in run.text, run.explain()
