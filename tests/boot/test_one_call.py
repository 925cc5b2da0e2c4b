"""The one call in other people's programs: the examples, and many mistakes, each named before the switch."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from boot import firmware
from boot.guest import judge, qemu_command, watch
from boot.reference import Run, make, sample
from cr3scope.input.capture.reader import read_capture
from cr3scope.qemu.outcome import DEBUG_EXIT_PASS
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status, Verdict

_SECONDS = 60
_KERNEL_RUNS = b"the kernel runs"
# Of each mistake in tests/boot/onecall/mistakes.h: what the program itself says, and the analyzer's rule.
_MISTAKES = {
    1: ("step 0 .* error 0x11 .* level 4 entry 0 ", "nx-upper-level"),
    2: ("step 2 .* error 0x11 .* level 4 entry 511 ", "nx-upper-level"),
    3: ("step 2 .* error 0x11 .* level 3 entry 510 ", "nx-upper-level"),
    4: ("step 2 .* error 0x11 .* level 2 entry 0 ", "nx-upper-level"),
    5: ("step 2 .* error 0x11 .* level 1 entry 0 ", "nx-leaf-code"),
    6: ("range kernel text .* cannot be executed: error 0x11, level 1 entry 1 ", "nx-leaf-code"),
    7: ("step 0 .* error 0x11 .* level 1 ", "nx-leaf-code"),
    8: ("step 0 .* error 0x10 .* level 1 entry .* = 0x0", "identity-missing-trampoline"),
    9: ("step 0 .* error 0x10 .* level 4 entry 0 = 0x0", "identity-missing-trampoline"),
    10: ("step 2 .* error 0x10 .* level 1 entry 0 = 0x0", "access-fault"),
    11: ("step 1 .* error 0x2 .* level 4 entry 511 = 0x0", "stack-unmapped"),
    12: ("step 1 .* error 0x2 .* level 1 entry 3 = 0x0", "stack-unmapped"),
    13: ("step 1 .* error 0x2 .* level 2 entry 0 = 0x0", "stack-unmapped"),
    14: ("step 1 .* error 0x3 .* level 4 entry 511 ", "upper-level-readonly"),
    15: ("step 1 .* error 0x3 .* level 2 entry 0 ", "upper-level-readonly"),
    16: ("step 1 .* error 0x3 .* level 1 entry 3 ", "stack-readonly"),
    17: ("step 1 .* error 0xb .* level 4 entry 511 ", "reserved-bits"),
    18: ("step 2 .* error 0x19 .* level 2 entry 0 ", "reserved-bits"),
    19: ("step 2 .* error 0x19 .* level 1 entry 0 ", "reserved-bits"),
    20: ("step 1 .* error 0xb .* level 3 entry 0 ", "reserved-bits"),
    21: ("step 0 .* error 0x19 .* level 1 ", "reserved-bits"),
    22: ("step 3 .boot info magic. .* level 1 entry 0 = 0x0", "boot-info-unmapped"),
    23: ("range kernel text at 0xffffffff80001000 leads to ", "wrong-frame"),
    24: ("range guard 0 .* is mapped, and shall not be", "guard-missing"),
    25: ("step 2 .* error 0x10 at 0xdead000, ", "access-fault"),
    26: ("step 2 .* vector 13 error 0x0 at 0x1ffffff80000010", "non-canonical"),
    27: ("step 2 .* error 0x11 at 0xffffc00000000000, level 1 entry 0 ", "access-fault"),
    28: ("step 1 .* vector 12 .QEMU's TCG: 13. error 0x0 at 0x1ffff8000003ff8", "non-canonical"),
    29: ("step 1 .* at 0xffffff7ffffffff8, ", "stack-top-wrong"),
    30: ("mov cr3 itself will fault: .* bits at or above MAXPHYADDR", "cr3-high-bits"),
    31: ("step 0 .* level 4 entry 0 = 0x0", "identity-missing-trampoline"),
    32: ("stack_top 0xffffff8000003ff8 is no multiple of 16", "stack-misaligned"),
}
_ONLY_TOLD = {24}  # a guard page that is mapped kills nobody
_UNSEEN = {30}  # TCG repeats such a mov cr3 for ever, and logs nothing


def multiboot_command(program: str, words: str = "") -> list[str]:
    """QEMU with a kernel that it loads by itself, and the kernel's command line."""
    return ["qemu-system-x86_64", "-accel", "tcg", "-m", "128", "-display", "none", "-net", "none", "-no-reboot",
            "-device", "isa-debug-exit,iobase=0xf4", "-kernel", str(make(f"examples/{program}.elf")), "-append", words]  # fmt: skip


def multiboot(folder: Path, program: str) -> Run:
    """What `cr3scope run` says of it."""
    return judge(folder, multiboot_command(program), _SECONDS)


def pe(folder: Path, program: str) -> Run:
    """The same of a UEFI program."""
    return watch(folder, make(f"examples/{program}.efi"), _SECONDS)


def assert_ran(run: Run) -> None:
    assert (run.status, run.verdict["verdict"], run.verdict["findings"]) == (0, "healthy", []), run.explain()
    assert _KERNEL_RUNS in run.serial


def assert_named(run: Run, rule: str, entry: dict[str, Any], words: bytes) -> None:
    """The verdict names entry and rule; the program itself did, and went nowhere."""
    assert run.status == 1 and run.verdict["verdict"] == "will-fault", run.explain()
    first = run.verdict["findings"][0]
    assert first["rule"] == rule and entry.items() <= first["entry"].items(), run.explain()
    assert words in run.serial and _KERNEL_RUNS not in run.serial


@pytest.mark.quick
def test_multiboot_kernel_climbs_and_switches(tmp_path: Path) -> None:
    assert_ran(multiboot(tmp_path, "multiboot"))


def test_multiboot_kernel_with_a_read_only_stack_is_told_before_the_switch(tmp_path: Path) -> None:
    run = multiboot(tmp_path, "multiboot.mistake")
    assert_named(run, "stack-readonly", {"level": 1, "index": 3}, b"level 1 entry 3 = 0x80000000")


def test_pe_loader_switches(tmp_path: Path) -> None:
    assert_ran(pe(tmp_path, "pe"))


def test_pe_loader_with_nx_above_its_own_code_is_told_before_the_switch(tmp_path: Path) -> None:
    run = pe(tmp_path, "pe.mistake")
    assert_named(run, "nx-upper-level", {"level": 4, "index": 0}, b"level 4 entry 0 = 0x80000000")


def test_gnu_efi_loader_switches(tmp_path: Path) -> None:
    assert_ran(pe(tmp_path, "gnu_efi"))


def test_gnu_efi_loader_with_an_absent_stack_page_is_told_before_the_switch(tmp_path: Path) -> None:
    run = pe(tmp_path, "gnu_efi.mistake")
    assert_named(run, "stack-unmapped", {"level": 1, "index": 3}, b"level 1 entry 3 = 0x0")


def checked(serial: bytes) -> Iterator[tuple[int, str, Verdict]]:
    """Each check of the program: its status, what it said, and what the analyzer says of its part of the capture."""
    for part in re.split(rb"(?=@c3s1 0 begin )", serial)[1:]:
        status = re.search(rb"^checked \d\d status (\d\d)", part, re.MULTILINE)
        assert status is not None, part[-200:]
        told = "\n".join(line for line in part.decode("latin-1").splitlines() if line.startswith("preflight: "))
        yield int(status[1]), told, analyze(read_capture(part))


def serial_of(which: str, folder: Path) -> bytes:
    """What the program sends until it ends QEMU: `run` would stop it at the first finding."""
    settings = {"QEMU": firmware.stand_in({})}
    pe_command = partial(qemu_command, folder, make("examples/mistakes.efi"), settings)
    command = multiboot_command("mistakes") if which == "multiboot" else pe_command()
    sent = folder / "sent"
    done = subprocess.run([*command, "-serial", f"file:{sent}"], timeout=_SECONDS)
    assert done.returncode == DEBUG_EXIT_PASS, sent.read_bytes()[-500:]
    return sent.read_bytes()


@pytest.mark.parametrize("which", ["multiboot", "pe"])
def test_every_mistake_is_named_before_the_switch_and_nothing_else(which: str, tmp_path: Path) -> None:
    checks = list(checked(serial_of(which, tmp_path)))
    assert len(checks) == len(_MISTAKES) + 1
    status, told, verdict = checks[0]
    assert (status, told, verdict.status, verdict.findings) == (0, "", Status.HEALTHY, ())
    for number, (words, rule) in _MISTAKES.items():
        status, told, verdict = checks[number]
        rules = [finding.rule for finding in verdict.findings]
        assert status == (0 if number in _ONLY_TOLD else 1), (number, told)
        assert re.search(words, told.split("\n")[0]), (number, told)
        assert rule in rules[:2] and "preflight-disagrees" not in rules, (number, rules)
        assert verdict.status is (Status.HEALTHY if number in _ONLY_TOLD else Status.WILL_FAULT), (number, rules)


@pytest.mark.parametrize("number", sample(sorted(_MISTAKES), 5))
def test_what_is_foreseen_of_a_mistake_is_what_the_cpu_does(number: int, tmp_path: Path) -> None:
    run = judge(tmp_path, multiboot_command("mistakes", str(number)), _SECONDS)
    rule = _MISTAKES[number][1]
    rules = [finding["rule"] for finding in run.verdict["findings"]]
    assert rule in rules[:2] and run.verdict["agreement"] is (None if number in _UNSEEN else True), run.explain()
