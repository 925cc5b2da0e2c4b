"""Small faulty loaders that know nothing of the trace: `cr3scope run` names each cause.

Each has a twin without its mistake, which is judged healthy.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from boot.guest import NO_WHO, watch
from boot.reference import ROOT, Run, make
from boot.shared_run import shared
from boot.verbs import cr3scope

SECONDS = 25


@dataclass(frozen=True, slots=True)
class Wanted:
    """``first``: vector and error code of the first exception; ``cause``: words of the finding's title."""

    verdict: str
    ending: str
    rule: str
    cause: str
    first: tuple[int, int | None] | None = None
    entry: tuple[int, int] | None = None  # level and index, where they do not hang on an address
    detail: str = ""
    words: tuple[str, ...] = ()  # of QEMU's command line
    cpus: str = "1"
    graphics: str = "std"  # "none": the firmware has no GOP
    also: tuple[str, ...] = ()  # rules of further errors
    wrote: str | None = None  # the line that wrote the entry; of a PE "" for any of its own; None if nobody is asked
    on_own_stack: str = ""  # the ending where the firmware's handlers have stacks of their own, as since 2026


PF, GP, UD = 14, 13, 6
FIRMWARE = "the firmware"
LOADERS = {
    "nx_pml4": Wanted("faulted", "storm", "nx-upper-level", "NX in PML4[0] forbids execution", (PF, 0x11), (4, 0), wrote="made->pml4[i] |= NO_EXECUTE;"),
    "nx_pml4_copied": Wanted(
        "faulted", "storm", "nx-upper-level", "NX in PML4[0] forbids execution", (PF, 0x11), (4, 0), wrote="made->pml4[0] |= NO_EXECUTE;",
    ),
    "trampoline_unmapped": Wanted(
        "faulted", "triple-fault", "identity-missing-trampoline", "the code that executes mov cr3 is not mapped",
        (PF, 0x10), (4, 0), wrote="",
    ),
    "stack_unmapped": Wanted(
        "faulted", "triple-fault", "stack-unmapped", "the stack is not mapped", (PF, 0x2),
        on_own_stack="handled", wrote="*directory_entry(made, stack) = 0;",
    ),
    "stack_readonly": Wanted(
        "faulted", "triple-fault", "stack-readonly", "the stack is mapped read-only by PD[", (PF, 0x3), on_own_stack="handled", wrote="",
    ),
    "cr3_reserved_bit": Wanted(
        "hung", "hang", "cr3-high-bits", "reserved bits 0x2000000000000000"
    ),
    "non_canonical_jump": Wanted(
        "faulted", "handled", "non-canonical", "is not canonical: bits 63:47", (GP, 0x0)
    ),
    "zero_sled": Wanted("faulted", "handled", "zero-sled", "ran through zeros", (PF, 0x10)),
    "halt_interrupts_off": Wanted("hung", "hang", "hang-hlt", "with interrupts off"),
    "tight_loop": Wanted("hung", "hang", "hang-loop", "a tight loop"),
    "tight_loop_called": Wanted("hung", "hang", "hang-loop", "a tight loop"),
    "conout_after_exit": Wanted(
        "faulted", "triple-fault", "access-fault", "cannot be read", (PF, 0x0), None, "(ConOut)", wrote="made->directories[i] = 0;",
    ),
    "idt_wrong_selector": Wanted(
        "faulted", "triple-fault", "selector-mismatch", "IDT gate 6 (#UD)", (UD, None), None, "GDT limit"
    ),
    "entry_zero": Wanted("faulted", "handled", "jump-to-null", "jump to address 0", (PF, 0x10)),
    "interrupts_on": Wanted(
        "faulted", "triple-fault", "missing-cli", "which do not map its gate", (PF, 0x0), None, "interrupts on", wrote="*directory_entry(made, copy) = 0;",
    ),
    "virtual_in_entry": Wanted(
        "faulted", "handled", "virt-address-in-entry", "PML4[256] holds the virtual address", (PF, 0x18),
        (4, 256), wrote="",
    ),
    "resets": Wanted(
        "faulted", "ran", "asked-for-reset", "a reset through the keyboard controller, port 64h"
    ),
    "resets_cf9": Wanted(
        "faulted", "ran", "asked-for-reset", "a reset through the reset control register, port CF9h"
    ),
    "watchdog_device": Wanted(
        "faulted", "ran", "watchdog-reset", "ran out (action: reset)", words=("-device", "ib700")
    ),
    "firmware_watchdog": Wanted(
        "faulted", "ran", "uefi-watchdog", "the firmware's watchdog reset the machine"
    ),
    "returns": Wanted("faulted", "ran", "loader-returned", "came back"),
    "loop_masked": Wanted("hung", "hang", "hang-loop", "interrupts on, but none comes"),
    "handler_faults": Wanted(
        "faulted", "storm", "handler-faults", "the handler of #UD faults itself", (UD, None),
        detail="the live tables", also=("instruction-refused",),
    ),
    "sse_off": Wanted(
        "faulted", "handled", "instruction-refused", "needs SSE, and CR4.OSFXSR is 0", (UD, None)
    ),
    "dies_before_switch": Wanted(
        "faulted", "handled", "code-unmapped", "the code at 0x123456789000 is not mapped", (PF, 0x10)
    ),
    "large_bit_missing": Wanted(
        "faulted", "triple-fault", "page-size-missing", "lacks PS: it maps no page of 2 MiB", (PF, 0x10), wrote="made->directories[i] &= ~(UINT64)LARGE;",
    ),
    "gives_up": Wanted(
        "faulted", "handled", "instruction-refused", "the program gave up by itself", (UD, None)
    ),
    "unset_pointer": Wanted(
        "faulted", "handled", "non-canonical", "goes to 0xafafafafafafafaf", (GP, 0x0),
        detail="nobody has set this",
    ),
    "wipes_itself": Wanted(  # without its file
        "faulted", "handled", "zero-sled", "the CPU runs through zeros", (PF, 0x0)
    ),
    "wipes_itself_spins": Wanted("hung", "hang", "hang-loop", "a tight loop"),  # without its file
    "ap_dies": Wanted(
        "faulted", "triple-fault", "ap-trampoline", "CPU 1 died in real mode at 0800:0007", cpus="2"
    ),
    "tables_in_pieces": Wanted(
        "faulted", "triple-fault", "stack-readonly", "the stack is mapped read-only by PD[", (PF, 0x3), on_own_stack="handled",
        wrote="*directory_entry(made, first) = (UINT64)first | LARGE | flags;",
    ),
    "tables_copied": Wanted(
        "faulted", "triple-fault", "stack-readonly", "the stack is mapped read-only by PD[", (PF, 0x3), on_own_stack="handled",
        wrote='__asm__ volatile("rep movsb"', graphics="none",
    ),
    "entry_halves": Wanted(
        "faulted", "storm", "nx-upper-level", "NX in PML4[0] forbids execution", (PF, 0x11), (4, 0), wrote="entry[1] = MENDED ? 0",
    ),
    "firmware_tables_kept": Wanted("faulted", "handled", "access-fault", "cannot be written", (PF, 0x3), wrote=FIRMWARE),
}  # fmt: skip
# Built as other people build theirs, by clang and lld; the rest by gnu-efi. The Makefile reads it, too.
AS_PE = frozenset((ROOT / "tests/boot/foreign/as_pe").read_text().split())


def settings_of(wanted: Wanted) -> dict[str, str]:
    """Return the machine's, for scripts/boot/qemu-command."""
    return {"CPUS": wanted.cpus, "GRAPHICS": wanted.graphics}


@cache
def program(name: str) -> Path:
    """The loader, built; safe when several test processes ask at the same time."""
    folder = "foreign/pe" if name.removesuffix(".mended") in AS_PE else "foreign"
    return make(f"{folder}/{name}.efi")


def run_of(name: str) -> Run:
    """Return what `run` makes of the loader, in a boot for all who ask."""
    wanted = LOADERS[name]
    who = NO_WHO if wanted.wrote is None else "--who"

    def boot(folder: Path) -> Run:
        return watch(folder, program(name), SECONDS, wanted.words, who=who, **settings_of(wanted))

    return shared(("foreign", name), boot)


def ending(wanted: Wanted, log: Path) -> str:
    """Return how the loader ends under the firmware that wrote the log: with a TSS its handlers may have own stacks."""
    has_task = re.search(rb"^TR =(?!0000 )", log.read_bytes(), re.MULTILINE) is not None
    return wanted.on_own_stack if has_task and wanted.on_own_stack else wanted.ending


def errors(run: Run) -> list[dict[str, object]]:
    return [f for f in run.verdict["findings"] if f["severity"] == "error"]


def check_writer(run: Run, rule: str, line: str, elf: Path) -> None:
    """The program is told as an image with an offset: the line is looked up by binutils."""
    found = next(each for each in run.verdict["findings"] if each["rule"] == rule)
    if line == FIRMWARE:  # or nobody since the machine was saved: it begins behind the reset
        assert found["writer"] is None or not found["writer"]["place"].startswith("BOOTX64"), run.explain()
        return
    writer = found["writer"]
    assert writer is not None, run.explain()
    image, _, offset = writer["place"].partition("+")
    assert image == "BOOTX64.EFI", run.explain()
    if elf.is_file():
        told = subprocess.run(["addr2line", "-e", elf, offset], capture_output=True, text=True, check=True).stdout.split()[0]
        file, _, number = told.rpartition(":")
        assert line in Path(ROOT, file).read_text().splitlines()[int(number) - 1], (told, run.explain())


@pytest.mark.parametrize("name", LOADERS)
def test_the_cause_of_a_foreign_loaders_death_is_named(name: str) -> None:
    wanted = LOADERS[name]
    run = run_of(name)
    verdict = run.verdict
    assert (run.status, verdict["verdict"]) == (1, wanted.verdict), run.explain()
    if wanted.wrote is not None:
        check_writer(run, wanted.rule, wanted.wrote, program(name).with_suffix(".elf"))
    seen = verdict["observation"]
    assert seen["outcome"] == ending(wanted, run.folder / "interrupts.log"), run.explain()
    if wanted.cpus != "1":
        assert seen["cpu"].startswith("CPU 1 of 2"), run.explain()
    first = seen["first"]
    if wanted.first is None:
        assert first is None, run.explain()
    else:
        assert (first["vector"], first["error_code"]) == wanted.first, run.explain()
    found = errors(run)
    assert [f["rule"] for f in found] == [wanted.rule, *wanted.also], run.explain()
    assert wanted.cause in str(found[0]["title"]), run.explain()
    assert wanted.detail in str(found[0]["detail"]), run.explain()
    if wanted.entry is not None:
        entry = found[0]["entry"]
        assert isinstance(entry, dict)
        assert (entry["level"], entry["index"]) == wanted.entry, run.explain()


@pytest.mark.parametrize("name", LOADERS)
def test_the_same_loader_without_its_mistake_is_healthy(name: str, tmp_path: Path) -> None:
    wanted = LOADERS[name]
    twin = program(f"{name}.mended")
    run = watch(tmp_path, twin, SECONDS, wanted.words, **settings_of(wanted))
    assert (run.status, run.verdict["verdict"]) == (0, "healthy"), run.explain()
    assert errors(run) == []


def test_the_paused_guest_is_kept_as_a_core_and_in_words(tmp_path: Path) -> None:
    run = watch(tmp_path, program("stack_unmapped"), SECONDS)
    first = run.verdict["observation"]["first"]
    cr3, directory_entry = first["cr3"], f"PD[{int(first['cr2'], 16) >> 21 & 511}]"
    kept = run.text.splitlines()[-2:]
    assert "machine.txt" in kept[0] and f"tables.core: 6 table pages under CR3={cr3}" in kept[1]
    state = (tmp_path / "machine.txt").read_text()
    for words in ("EFER: LME LMA", "interrupts off", "GDT at", "IDT at", "bytes at RIP",
                  "walk of RIP", "walk of RSP", "walk of CR2", directory_entry, "not-present  <- here"):
        assert words in state, words
    listed = cr3scope("maps", tmp_path / "tables.core")
    assert listed.returncode == 0, listed.stderr
    assert f"CR3 {cr3}" in listed.stdout and "4.0 GiB writable" in listed.stdout


OPTIONS: dict[str, list[str]] = {
    "starts stopped": ["-S", "-no-shutdown", "-no-reboot"],
    "own actions": ["-action", "reboot=reset,shutdown=poweroff,panic=pause"],
    "own QMP and monitor": ["-qmp", "null", "-monitor", "stdio"],
    "no window": ["-nographic"],
    "serial with the monitor": ["-serial", "mon:stdio"],
    "a gdb stub": ["-gdb", "tcp:127.0.0.1:0"],
    "a trace": ["-trace", "enable=pic_interrupt"],
}


@pytest.mark.parametrize("words", OPTIONS.values(), ids=OPTIONS)
def test_options_that_are_there_already_do_not_matter(words: list[str], tmp_path: Path) -> None:
    run = watch(tmp_path, program("stack_unmapped"), SECONDS, words)
    assert [f["rule"] for f in errors(run)] == ["stack-unmapped"], run.explain()
    assert b"BdsDxe: starting" in run.serial


def test_the_commands_own_log_and_serial_file_are_written(tmp_path: Path) -> None:
    log, serial = tmp_path / "mine.log", tmp_path / "mine.txt"
    words = ["-d", "guest_errors", "-D", str(log), "-chardev", f"file,id=s,path={serial}",
             "-device", "isa-serial,chardev=s"]  # fmt: skip
    run = watch(tmp_path, program("stack_unmapped"), SECONDS, words)
    assert [f["rule"] for f in errors(run)] == ["stack-unmapped"], run.explain()
    assert b"check_exception old: 0xffffffff new 0xe" in log.read_bytes()
    assert serial.read_bytes() == run.serial and b"BdsDxe: starting" in run.serial


def test_every_loader_has_a_row() -> None:
    there = {file.stem for file in (ROOT / "tests/boot/foreign").glob("*.c")}
    assert set(LOADERS) == there - {"undeliverable"}, "test_undeliverable.py has that one"
