"""Kernels that QEMU itself loads, by Multiboot and without firmware tables: what their file shows, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from analyze.lint_files import Kernel, Segment, R, X, kernel_32, multiboot1, written
from boot.guest import judge

SECONDS = 20
ABORT = bytes.fromhex("0f 0b eb fc")  # ud2; jmp back
MAIN = bytes.fromhex("6a 00 58 85 c0 74 05 e8 ee ff ff ff 74 05 e8 e7 ff ff ff fa f4 eb fd")  # two calls that are never made; cli; hlt for ever
FUNCTIONS = {"abort": (0, 4), "kmain": (4, len(MAIN))}
QEMU = ("qemu-system-x86_64", "-display", "none", "-net", "none", "-kernel")
# push rbp; mov rbp, rsp; mov rax, 0b0f00000000h; cli; hlt for ever. In 32 bits the constant's upper half is executed: ud2.
LONG = bytes.fromhex("55 48 89 e5 48 b8 00 00 00 00 0f 0b 00 00 fa f4 eb fd")


def boot(folder: Path, kernel: bytes) -> tuple[int, str, list[tuple[str, str]]]:
    """Exit status, status and findings of `cr3scope run`."""
    run = judge(folder, [*QEMU, str(written(folder / "kernel", kernel))], SECONDS)
    return run.status, run.verdict["verdict"], [(one["rule"], one["severity"]) for one in run.verdict["findings"]]


@pytest.mark.quick
def test_an_entry_that_fell_on_a_function_is_why_the_kernel_died_and_its_twin_is_healthy(tmp_path: Path) -> None:
    status, verdict, found = boot(tmp_path, kernel_32(ABORT + MAIN, FUNCTIONS, entry=0, undefined=("_start",)))
    assert (status, verdict, found[0]) == (1, "faulted", ("wrong-entry", "error"))
    assert boot(tmp_path, kernel_32(ABORT + MAIN, FUNCTIONS, entry=4)) == (0, "healthy", [])


def test_64_bit_code_at_a_multiboot_entry_is_why_the_kernel_died(tmp_path: Path) -> None:
    status, verdict, found = boot(tmp_path, kernel_32(LONG, {"_start": (0, len(LONG))}, entry=0))
    assert (status, verdict, found[0]) == (1, "faulted", ("entry-in-long-mode", "error"))


def test_a_header_behind_8_kib_is_no_multiboot_kernel_for_qemu(tmp_path: Path) -> None:
    """As the rule says; within, QEMU knows the file, and says that it takes none of 64 bits."""
    far, near = (Kernel(entry=0x10_0000, segments=(Segment(0x10_0000, R | X, ABORT),), prefix=bytes(size) + multiboot1()) for size in (0x2000, 8))
    said = [judge(tmp_path, [*QEMU, str(written(tmp_path / "kernel", one.bytes()))], SECONDS).errors for one in (far, near)]
    assert ["64bit" in words or "x86-64" in words for words in said] == [False, True], said
