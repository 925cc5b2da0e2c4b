"""What a kernel says of itself in notes, or leaves unsaid, decides nothing that it must not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from boot.bad_inputs import newc, write
from boot.firmware import boot_from_first_read
from boot.reference import ROOT, build

sys.path.append(str(ROOT / "tests/analyze"))

import tiny_elf  # noqa: E402

ENTRY = 0xFFFF_FFFF_8000_0000
# mov al, 0x10; out 0xf4, al; hlt; jmp to the hlt: ends QEMU with success (docs/handoff.md)
SUCCEEDS = bytes.fromhex("b010e6f4f4ebfd")
READ = b"boot info magic".ljust(36, b"\0")  # the name in a note of the conformance kernel's
NAME = b"@c3s1 5 end producer=loader"


def test_a_kernel_that_does_not_trace_is_healthy(tmp_path: Path) -> None:
    kernel = tiny_elf.write(tmp_path / "kernel.elf", ENTRY, [(ENTRY, 5, SUCCEEDS, len(SUCCEEDS))]).read_bytes()
    run = boot_from_first_read(tmp_path / "run", INITRD=write(tmp_path, newc({"kernel.elf": kernel})))
    assert b"traces=no" in run.serial and b"next=none" in run.serial, run.explain()
    assert (run.status, run.verdict["verdict"]) == (0, "healthy"), run.explain()
    assert run.verdict["diagnostics"] == [], run.explain()


@pytest.mark.parametrize(("inject", "verdict"), [("", "healthy"), ("boot-info-unmapped", "faulted")])
def test_a_name_that_looks_like_a_record_damages_no_capture(inject: str, verdict: str, tmp_path: Path) -> None:
    """Of a step that will fault the loader says the name on the console, between its records."""
    kernel = (build() / "kernel/kernel.elf").read_bytes()
    assert kernel.count(READ) == 1
    kernel = kernel.replace(READ, NAME.ljust(len(READ), b"\0"))
    initrd = write(tmp_path, newc({"kernel.elf": kernel}))
    run = boot_from_first_read(tmp_path / "run", INITRD=initrd, inject=inject)
    assert NAME not in run.serial
    assert (b"(?" + NAME[1:] + b") will fault" in run.serial) == bool(inject), run.explain()
    assert run.verdict["verdict"] == verdict, run.explain()
    assert "damaged" not in run.text
