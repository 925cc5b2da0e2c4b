"""The one call in other people's programs: the examples, and many mistakes, each named before the switch."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from boot import firmware, grub
from boot.guest import judge, qemu_command, watch
from boot.reference import Run, make, sample
from cr3scope.input.capture.reader import read_capture
from cr3scope.qemu.outcome import DEBUG_EXIT_PASS
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import RehearsalEnd, Status, Verdict

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
_DATA_AS_ENTRY = 27  # a page of zeros: nothing in it can be run for a trial
_UNSEEN = {30}  # TCG repeats such a mov cr3 for ever, and logs nothing
# Of those that are no mistakes of the tables: the status, what is said, and the analyzer's rule.
_BEYOND_MEMORY = 35
_BAD_CPU = 7  # a status
# Other control registers: PCIDs; SMEP and SMAP with a kernel that is the user's; global pages; no NXE. The steps that fault.
_FEATURES = {36: [], 37: [2, 3], 38: [], 39: [1, 3, 4]}
_NOT_JUDGED = {
    33: (11, "the page tables in force are not where physical_offset has them: 0x4000", "loader-refused"),
    34: (11, "the page tables in force are not where physical_offset has them: 0x", "loader-refused"),
    _BEYOND_MEMORY: (1, "the root 0x4000000000 cannot be read at 0x4000000000, where physical_offset has it", "bad-root"),
}


def multiboot_command(program: str, words: str = "") -> list[str]:
    """Return QEMU with a kernel that it loads by itself, and the kernel's command line."""
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


def climbed(folder: Path, cpu: str, levels: int) -> tuple[int, bytes]:
    """Status and words of the program that asks to climb: its levels, CR4.LA57 and a digit out of the upper half of a register."""
    said = folder / "said"
    done = subprocess.run([*multiboot_command("climbs", f"climbs {levels}"), "-cpu", cpu, "-serial", f"file:{said}"], timeout=_SECONDS, capture_output=True)
    return done.returncode, said.read_bytes()


@pytest.mark.parametrize(
    ("cpu", "levels", "said"),
    [
        ("qemu64", 4, b"408"), ("max", 4, b"408"), ("max", 5, b"518"),
        ("qemu64", 5, b"cr3scope_climb: this CPU has no 5 levels (LA57)"),
        ("qemu32", 4, b"cr3scope_climb: this CPU has no long mode"),
        ("qemu64", 6, b"cr3scope_climb: 4 levels or 5, no other number"),
    ],
)  # fmt: skip
def test_climb_from_32_bit_c_arrives_or_says_why_not(cpu: str, levels: int, said: bytes, tmp_path: Path) -> None:
    arrives = said.isdigit()
    assert climbed(tmp_path, cpu, levels) == (DEBUG_EXIT_PASS if arrives else DEBUG_EXIT_PASS + 2, said)


def test_multiboot2_kernel_that_grub_loads_climbs_and_switches(tmp_path: Path) -> None:
    assert_ran(watch(tmp_path, grub.multiboot(tmp_path, make("examples/multiboot.elf"), 2), _SECONDS))


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


@dataclass(frozen=True, slots=True)
class Checked:
    """One check of the program: its status, what it said, and what the analyzer says of its part of the capture."""

    status: int
    said: str
    told: str  # the preflight's part
    verdict: Verdict


def checked(serial: bytes) -> Iterator[Checked]:
    """Each check of the program, in order."""
    for part in re.split(rb"(?=@c3s1 0 begin )", serial)[1:]:
        status = re.search(rb"^checked \d\d status (\d\d)", part, re.MULTILINE)
        assert status is not None, part[-200:]
        said = part.decode("latin-1")
        told = "\n".join(line for line in said.splitlines() if line.startswith("preflight: "))
        yield Checked(int(status[1]), said, told, analyze(read_capture(part)))


@cache
def checks_of(which: str) -> tuple[Checked, ...]:
    """What the program sends until it ends QEMU: `run` would stop it at the first finding. It rehearses each request."""
    with TemporaryDirectory(prefix="cr3scope-") as name:
        folder = Path(name)
        if which == "multiboot":
            command = [*multiboot_command("mistakes", "rehearse max"), "-cpu", "max"]
        else:
            program = make("examples/mistakes.efi") if which == "pe" else grub.multiboot(folder, make("examples/mistakes.elf"), 2, "rehearse max")
            command = qemu_command(folder, program, {"QEMU": firmware.stand_in({})})
        sent = folder / "sent"
        done = subprocess.run([*command, "-serial", f"file:{sent}"], timeout=_SECONDS)
        assert done.returncode == DEBUG_EXIT_PASS, sent.read_bytes()[-500:]
        return tuple(checked(sent.read_bytes()))


_ALL = pytest.mark.parametrize("which", [
    pytest.param(name, marks=pytest.mark.xdist_group(f"onecall-{name}")) for name in ("multiboot", "multiboot2", "pe")
])  # fmt: skip


@_ALL
def test_every_mistake_is_named_before_the_switch_and_nothing_else(which: str) -> None:
    checks = checks_of(which)
    features = 0 if which == "pe" else len(_FEATURES)
    assert len(checks) == len(_MISTAKES) + len(_NOT_JUDGED) + 1 + features
    healthy = checks[0]
    assert (healthy.status, healthy.told, healthy.verdict.status, healthy.verdict.findings) == (0, "", Status.HEALTHY, ())
    for number, (words, rule) in _MISTAKES.items():
        one = checks[number]
        rules = [finding.rule for finding in one.verdict.findings]
        assert one.status == (0 if number in _ONLY_TOLD else 1), (number, one.told)
        assert re.search(words, one.told.split("\n")[0]), (number, one.told)
        assert rule in rules[:2] and "preflight-disagrees" not in rules, (number, rules)
        assert one.verdict.status is (Status.HEALTHY if number in _ONLY_TOLD else Status.WILL_FAULT), (number, rules)


@_ALL
def test_what_cannot_be_read_is_told_and_nothing_is_foreseen(which: str) -> None:
    for number, (status, words, rule) in _NOT_JUDGED.items():
        if which == "pe" and number == _BEYOND_MEMORY:  # mapped by the firmware
            continue
        one = checks_of(which)[number]
        assert one.status == status and words in one.said, (number, one.said[-600:])
        rules = [finding.rule for finding in one.verdict.findings]
        assert rule in rules and one.verdict.status is Status.INCOMPLETE and one.verdict.prediction is None, (number, rules)


@_ALL
def test_rehearsal_agrees_with_the_model_and_leaves_the_machine_as_it_was(which: str) -> None:
    """With each mistake: the CPU itself says what preflight and model say, and what can be reached is tried."""
    for number, one in enumerate(checks_of(which)[: _BEYOND_MEMORY + 1]):
        assert "the machine is as before" in one.said, number
        rehearsal = one.verdict.rehearsal
        if number in _NOT_JUDGED or number in _UNSEEN:
            is_made = which == "pe" and number == _BEYOND_MEMORY
            assert is_made or not rehearsal or (rehearsal.end, rehearsal.steps) == (RehearsalEnd.REFUSED, ()), number
            continue
        assert rehearsal is not None and rehearsal.end is RehearsalEnd.WHOLE, number
        assert rehearsal.agreement is True and len(rehearsal.steps) == 5, (number, rehearsal)
        assert "rehearsal-disagrees" not in [finding.rule for finding in one.verdict.findings], number
        untried = [step.step.step for step in rehearsal.steps if step.agrees is None]
        assert untried == ([2] if number == _DATA_AS_ENTRY else []), (number, untried)


@pytest.mark.xdist_group("onecall-multiboot")
@pytest.mark.parametrize("number", _FEATURES)
def test_rehearsal_under_other_control_registers_agrees_and_puts_them_back(number: int) -> None:
    one = checks_of("multiboot")[number]
    if one.status == _BAD_CPU:
        pytest.skip("this QEMU's CPU has no PCIDs")
    rehearsal = one.verdict.rehearsal
    assert "the machine is as before" in one.said
    assert rehearsal is not None and rehearsal.end is RehearsalEnd.WHOLE and rehearsal.agreement is True
    assert [step.step.step for step in rehearsal.steps if step.fault is not None] == _FEATURES[number]


def test_rehearsal_gives_an_nmi_that_comes_under_the_new_root_to_its_own_handler(tmp_path: Path) -> None:
    said = tmp_path / "said"
    done = subprocess.run([*multiboot_command("mistakes", "nmi"), "-serial", f"file:{said}"], timeout=_SECONDS)
    assert done.returncode == DEBUG_EXIT_PASS, said.read_bytes()
    assert said.read_bytes().split(b"\r\n")[:3] == [b"NMIs came", b"and under the new root too", b"all is rehearsed"]


def test_rehearsal_meets_no_breakpoint_of_a_debugger_and_leaves_them_set(tmp_path: Path) -> None:
    said = tmp_path / "said"
    done = subprocess.run([*multiboot_command("mistakes", "breakpoints"), "-serial", f"file:{said}"], timeout=_SECONDS)
    assert done.returncode == DEBUG_EXIT_PASS, said.read_bytes()
    refused, healthy = checked(said.read_bytes())
    assert (refused.verdict.status, healthy.verdict.status) == (Status.WILL_FAULT, Status.HEALTHY)
    for one, faults in ((refused, [2]), (healthy, [])):
        rehearsal = one.verdict.rehearsal
        assert "the machine is as before" in one.said
        assert rehearsal is not None and rehearsal.end is RehearsalEnd.WHOLE and rehearsal.agreement is True
        assert [step.step.step for step in rehearsal.steps if step.fault is not None] == faults
        assert all(step.record.is_tried for step in rehearsal.steps)


def test_planned_register_that_the_cpu_refuses_is_named_before_the_switch(tmp_path: Path) -> None:
    said = tmp_path / "said"
    done = subprocess.run([*multiboot_command("mistakes", "refused"), "-serial", f"file:{said}"], timeout=_SECONDS)
    assert done.returncode == DEBUG_EXIT_PASS, said.read_bytes()[-500:]
    checks = list(checked(said.read_bytes()))
    for name, one in zip(("cr0", "cr4", "efer"), checks, strict=True):
        assert one.status == 1 and f"rehearsal: the CPU itself refuses the planned {name} 0x" in one.said, name
        assert "vector 6 error 0x0" in one.said and "the machine is as before" in one.said, name
        assert one.verdict.status is Status.WILL_FAULT and one.verdict.findings[0].rule == "register-refused", name
        assert one.verdict.rehearsal is not None and one.verdict.rehearsal.refused is not None
        assert (one.verdict.rehearsal.refused.name, one.verdict.rehearsal.refused.vector) == (name, 6)


@pytest.mark.parametrize("stride", [1, 4])
def test_trace_goes_through_a_uart_in_memory(stride: int, tmp_path: Path) -> None:
    said = tmp_path / "said"
    done = subprocess.run([*multiboot_command("uart", str(stride)), "-serial", f"file:{said}"], timeout=_SECONDS)
    capture = read_capture(said.read_bytes())
    assert done.returncode == DEBUG_EXIT_PASS and said.read_bytes().endswith(b"all through memory\r\n"), said.read_bytes()[-300:]
    assert capture.damage == [] and analyze(capture).status is Status.HEALTHY


def test_rehearsal_with_a_second_cpu_waiting_agrees(tmp_path: Path) -> None:
    run = judge(tmp_path, [*multiboot_command("mistakes", "rehearse 12"), "-smp", "2"], _SECONDS)
    assert run.verdict["rehearsal"]["agreement"] is True and run.verdict["agreement"] is True, run.explain()


@pytest.mark.parametrize("number", sample(sorted(_MISTAKES), 5))
def test_what_is_foreseen_of_a_mistake_is_what_the_cpu_does(number: int, tmp_path: Path) -> None:
    run = judge(tmp_path, multiboot_command("mistakes", f"rehearse {number}"), _SECONDS)
    rule = _MISTAKES[number][1]
    rules = [finding["rule"] for finding in run.verdict["findings"]]
    assert rule in rules[:2] and run.verdict["agreement"] is (None if number in _UNSEEN else True), run.explain()
    refused = next((step for step in run.verdict["rehearsal"]["steps"] if step["outcome"] == "fault"), None)
    seen = (run.verdict["observation"] or {"first": None})["first"]
    if refused is not None and seen is not None:
        assert [refused[key] for key in ("vector", "error_code", "cr2")] == [seen[key] for key in ("vector", "error_code", "cr2")]
