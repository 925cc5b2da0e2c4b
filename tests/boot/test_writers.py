"""`cr3scope run` tells who wrote what is guilty: on loaders that know nothing of the trace."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from boot.reference import ROOT
from boot.guest import judge, qemu_command, watch
from boot.firmware import stand_in
from boot.test_foreign_loaders import program

SECONDS = 30
WHO, SECOND = "--who", ""
LOADERS = {  # the rule, and what the line says that has written the entry
    "nx_pml4": ("nx-upper-level", "made->pml4[i] |= NO_EXECUTE;"),
    "large_bit_missing": ("page-size-missing", None),
    "stack_readonly": ("stack-readonly", None),
    "virtual_in_entry": ("virt-address-in-entry", None),
}


def writer_of(verdict: dict[str, Any], rule: str) -> dict[str, Any]:
    found = next(each for each in verdict["findings"] if each["rule"] == rule)
    assert found["writer"] is not None, found
    assert found["writer"]["phys"] == found["entry"]["phys"]
    return found["writer"]


@pytest.mark.parametrize("name", LOADERS)
def test_the_writer_of_an_entry_is_told_with_line_or_offset(name: str, tmp_path: Path) -> None:
    rule, line = LOADERS[name]
    built = program(name)
    elf = [built.with_suffix(".elf")] if built.with_suffix(".elf").is_file() else []
    run = watch(tmp_path, built, SECONDS, elf=elf, who=WHO)
    writer = writer_of(run.verdict, rule)
    assert writer["when"] == "before", writer
    if elf:
        assert re.fullmatch(r"tests/boot/foreign/\w+\.[ch]:\d+", writer["place"]), writer
        assert line is None or line in run.text, run.text
    else:
        assert re.fullmatch(r"BOOTX64\.EFI\+0x[0-9a-f]+", writer["place"]), writer
    assert "no writer" not in run.text


def test_a_second_boot_tells_it_and_touches_nothing(tmp_path: Path) -> None:
    """Neither the disk nor the variables are other than after one boot; nothing of the second is left."""
    built = program("nx_pml4")
    settings = {"QEMU": stand_in({})}
    command = qemu_command(tmp_path, built, settings)
    run = judge(tmp_path, command, SECONDS, [built.with_suffix(".elf")], who=SECOND)
    after = {name: os.stat(tmp_path / name).st_mtime_ns for name in ("vars.fd", "disk.img")}
    writer = writer_of(run.verdict, "nx-upper-level")
    assert writer["place"].startswith("tests/boot/foreign/nx_pml4.c:") and writer["old"] is not None
    log = (tmp_path / "interrupts.log").stat().st_mtime_ns
    assert all(time <= log for time in after.values())
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".cr3scope-")]


@pytest.mark.parametrize(("name", "rule", "what"), [("idt_wrong_selector", "selector-mismatch", "the gate"), ("wipes_itself", "code-overwritten", "the code there")])
def test_who_wrote_a_gate_or_code_is_told(name: str, rule: str, what: str, tmp_path: Path) -> None:
    built = program(name)
    run = watch(tmp_path, built, SECONDS, elf=[built.with_suffix(".elf")], who=WHO)
    writer = next(each for each in run.verdict["findings"] if each["rule"] == rule)["writer"]
    assert writer is not None and writer["what"] == what, run.text
    assert writer["place"].startswith("tests/boot/foreign/"), writer


@pytest.mark.parametrize(("flags", "is_written"), [((), True), (("-DSTATIC",), False)])
def test_of_a_kernel_of_qemus_own_loader_the_writer_is_told_or_that_there_is_none(flags: tuple[str, ...], is_written: bool, tmp_path: Path) -> None:
    """QEMU puts the file into memory itself: no instruction of the guest does. The tables themselves are the code's."""
    kernel = tmp_path / "kernel"
    source = "tests/boot/foreign/multiboot/stack_readonly.S"
    words = ["gcc", "-m64", "-g", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x100000,--build-id=none,-z,noexecstack", *flags]
    subprocess.run([*words, source, "-o", tmp_path / "kernel64"], cwd=ROOT, check=True)
    subprocess.run(["objcopy", "-O", "elf32-i386", tmp_path / "kernel64", kernel], check=True)
    command = ["qemu-system-x86_64", "-m", "32", "-display", "none", "-nic", "none", "-kernel", str(kernel)]
    run = judge(tmp_path, command, SECONDS, [tmp_path / "kernel64"], who=SECOND)
    found = next(each for each in run.verdict["findings"] if each["rule"] == "stack-readonly")
    text = (ROOT / source).read_text().splitlines()
    call, store = (1 + text.index(line) for line in ("    call make_tables", "    movl $0x200000 + LARGE_READ_ONLY, directory + 8 /* the mistake */"))
    assert found["unwritten"] is not is_written, run.text
    if is_written:
        assert found["writer"]["place"] == f"{source}:{store}" and found["writer"]["old"] == "0x200083", found
        assert found["writer"]["callers"] == [f"{source}:{call}"], found
    else:
        assert found["writer"] is None and "no instruction of the guest has stored there" in " ".join(run.text.split())
