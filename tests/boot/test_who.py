"""`cr3scope run` tells who wrote what is guilty: on loaders that know nothing of the trace."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from boot.reference import ROOT, Run
from boot.guest import NO_WHO, judge, qemu_command, watch
from boot.firmware import stand_in
from boot import test_grub_kernels, test_who_protected
from boot.protected_rows import ROWS, SECTORS
from boot.test_foreign_loaders import LOADERS as FOREIGN
from boot.test_foreign_loaders import program
from boot.test_protected_guests import who_of

from cr3scope.qemu.plugin_build import plugin_for

SECONDS = 30
QEMU = "qemu-system-x86_64"
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


SOURCE = "tests/boot/foreign/multiboot/stack_readonly.S"


def kernel(folder: Path, *flags: str) -> tuple[Path, Path]:
    """The kernel as QEMU's own loader takes it, and the file with its symbols."""
    whole, taken = folder / "kernel64", folder / "kernel"
    words = ["gcc", "-m64", "-g", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x100000,--build-id=none,-z,noexecstack", *flags]
    subprocess.run([*words, SOURCE, "-o", whole], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["objcopy", "-O", "elf32-i386", whole, taken], check=True, capture_output=True)
    return taken, whole


def line_of(text: str) -> str:
    return f"{SOURCE}:{1 + (ROOT / SOURCE).read_text().splitlines().index(text)}"


STORE = line_of("    movl $0x200000 + LARGE_READ_ONLY, directory + 8 /* the mistake */")


def boot(folder: Path, *words: str, flags: tuple[str, ...] = ()) -> tuple[Run, dict[str, Any]]:
    """A boot of the kernel, a second one, and what is found of its stack."""
    taken, whole = kernel(folder, *flags)
    command = [QEMU, "-display", "none", "-nic", "none", "-kernel", str(taken), *words]
    run = judge(folder, command, SECONDS, [whole], who=SECOND)
    return run, next(each for each in run.verdict["findings"] if each["rule"] == "stack-readonly")


def test_of_a_kernel_of_qemus_own_loader_the_writer_is_told(tmp_path: Path) -> None:
    run, found = boot(tmp_path)
    assert found["unwritten"] is False, run.text
    writer = found["writer"]
    assert (writer["place"], writer["old"], writer["callers"]) == (STORE, "0x200083", [line_of("    call make_tables")]), writer


def test_where_no_code_wrote_it_is_said_that_there_is_none(tmp_path: Path) -> None:
    """QEMU puts the file into memory itself: no instruction of the guest does."""
    run, found = boot(tmp_path, flags=("-DSTATIC",))
    assert found["writer"] is None and found["unwritten"] is True
    assert "no instruction of the guest has stored there" in " ".join(run.text.split())


def test_the_guide_says_how_many_boots_are_held_to_the_source() -> None:
    """Where a row of these tables is asked, its test compares line, or image and offset, with what binutils say."""
    asked = sum(who_of(row) != NO_WHO for row in (*ROWS, *SECTORS)) + sum(one.wrote is not None for one in FOREIGN.values())
    asked += test_grub_kernels.asked_who() + len(test_who_protected.ROWS)
    said = re.search(r"to the sources in (\d+) boots", (ROOT / "docs/any-guest.md").read_text())
    assert said is not None and int(said[1]) == asked >= 40, asked


@pytest.mark.parametrize("words", [("-m", "16G"), ("-smp", "4"), ("-snapshot",), ("drives",), ("plugin",)], ids=" ".join)
def test_whatever_the_machine_has_the_writer_is_told_and_files_stay(words: tuple[str, ...], tmp_path: Path) -> None:
    disks = [tmp_path / f"{number}.img" for number in range(2)]
    for disk in disks:
        disk.write_bytes(bytes(1 << 20))
    if words == ("drives",):
        words = tuple(word for disk in disks for word in ("-drive", f"format=raw,file={disk}"))
    elif words == ("plugin",):
        words = ("-plugin", f"file={plugin_for([QEMU])},out={tmp_path}/mine")
    run, found = boot(tmp_path, *words)
    assert found["writer"] is not None and found["writer"]["place"] == STORE, run.text
    assert all(disk.read_bytes() == bytes(1 << 20) for disk in disks)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".cr3scope-")]


def test_a_signal_in_the_second_boot_leaves_the_first_verdict_and_nobody_behind(tmp_path: Path) -> None:
    taken, _ = kernel(tmp_path)
    out = tmp_path / "run"
    words = [ROOT / "scripts/cr3scope", "run", "-o", out, "--", QEMU, "-display", "none", "-nic", "none", "-kernel", taken]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until = time.monotonic() + SECONDS
        while not [*out.glob(".cr3scope-*/second/interrupts.log")]:
            assert time.monotonic() < until and running.poll() is None, "no second boot"
            select.select([], [], [], 0.01)
        running.send_signal(signal.SIGINT)
        printed, complained = running.communicate(timeout=SECONDS)
    assert printed.startswith("FAULTED: #PF") and not complained.strip(), complained
    assert "[stack-readonly]" in printed and "\n   writer" not in printed
    assert "no writer is told: the second boot, with the plugin, was interrupted" in " ".join(printed.split())
    assert not [*out.glob(".cr3scope-*")]
