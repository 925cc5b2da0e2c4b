"""gdb on a kernel of its own: compatibility mode, its own IDT, exceptions long after the switch."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from boot.verbs import cr3scope
from gdb_session import multiboot, unwrapped

def at_last_switch(folder: Path, case: str, commands: str) -> str:
    return unwrapped(multiboot(folder, case, f"hbreak last_switch\ncontinue\n{commands}"))


def test_a_switch_in_compatibility_mode_is_judged_by_32_bit_code(tmp_path: Path) -> None:
    commands = "hbreak compatibility_switch\ncontinue\ncr3scope check\ncr3scope step --entry\n"
    text = unwrapped(multiboot(tmp_path, "HEALTHY", commands))
    assert re.search(r"^verdict: survives \d+ instructions \(mov cr3, edi loads 0x", text, re.M), text
    # push %edx moves four bytes, and the far jump reads its descriptor.
    written = re.search(r"^  stack write  write  0x0*([0-9a-f]+)  ok$", text, re.M)
    assert written and int(written[1], 16) % 16 == 0xC, text
    assert "GDT read" in text and "rule: " not in text, text


def test_every_switch_of_a_kernel_has_a_breakpoint_once(tmp_path: Path) -> None:
    text = unwrapped(multiboot(tmp_path, "HEALTHY", "cr3scope break\ncr3scope break\ninfo breakpoints"))
    assert "3 mov cr3 in " in text and "3 had a breakpoint already" not in text, text
    places = re.search(r"^3 mov cr3 in [^:]*: (.*)$", text, re.M)
    assert places, text
    count = len(re.findall("0x", places[1]))
    assert f"{count} had a breakpoint already" in text, text
    assert text.count("hw breakpoint ") == count, text


@pytest.mark.parametrize(
    ("case", "lines"),
    [
        ("NO_IDT", [r"^later: #PF \(error 0002: write, not present\) at RIP=0x[0-9a-f]+ in loop",
                    r"rule: access-fault: 0x40000000 cannot be written",
                    r"no handler can be entered: stopped before the fault, .* is a triple-fault"]),
        ("RESETS_IN_LOOP", [r"^QEMU ended: .* RIP=0x[0-9a-f]+ in \w+"]),
        ("LATE_DIVIDE", [r"^later: #DE at RIP=0x[0-9a-f]+ in loop", r"^rule: instruction-refused: div ecx ",
                         r"caught #DE at its handler 0x[0-9a-f]+:"]),
        ("SHARED_HANDLER", [r"caught #DF at its handler 0x[0-9a-f]+:",
                            r"#DF shares its handler, and its frame could be that of .*#GP",
                            r"gate 14, not present, is out of reach: #NP .*: double fault",
                            r"#DF \(error 0000\)"]),
        ("BAD_SELECTOR", [r"verdict: faults at the instruction: #GP \(error 0078: GDT selector 78h\)",
                          r"rule: instruction-refused: mov ds, eax .* outside the GDT",
                          r"caught #GP at its handler 0x[0-9a-f]+:"]),
        ("LATE_GATE", [r"verdict: faults at the instruction: #UD, RIP=0x[0-9a-f]+",
                       r"caught #UD at its handler 0x[0-9a-f]+:", r"raised in raise "]),
        ("LONG_STORE", [r"verdict: faults at the write: #PF \(error 0002: write, not present\), CR2=0x400000",
                        r"caught #PF at its handler 0x[0-9a-f]+:",
                        r"#PF \(error 0002: write, not present\), CR2=0x400000"]),
        ("HEALTHY", [r"^no exception: the CPU halts at RIP=0x[0-9a-f]+ in halt"]),
    ],
)  # fmt: skip
def test_step_goes_on_to_the_exception(case: str, lines: list[str], tmp_path: Path) -> None:
    text = at_last_switch(tmp_path, case, "cr3scope step\n")
    at = 0
    for line in lines:
        found = re.compile(line, re.MULTILINE).search(text, at)
        assert found, (line, text)
        at = found.end()
    if case == "HEALTHY":
        assert "caught" not in text and "rule: " not in text, text


_DROPPED = """python
from cr3scope_commands import step
made, times = step.step_over, []
def dropped(*arguments):
    times.append(arguments)
    if len(times) > {dropped}:
        made(*arguments)
step.step_over, step.PATIENT_SECONDS = dropped, {seconds}
end
"""


def test_a_step_that_gdb_gives_up_is_made_again(tmp_path: Path) -> None:
    text = at_last_switch(tmp_path, "LATE_DIVIDE", f"{_DROPPED.format(dropped=2, seconds=30)}cr3scope step\n")
    assert "after the switch: RIP=0x" in text and "caught #DE" in text, text


def test_a_guest_that_never_steps_is_told_with_the_time(tmp_path: Path) -> None:
    text = at_last_switch(tmp_path, "LATE_DIVIDE", f"{_DROPPED.format(dropped=10**9, seconds=0.2)}cr3scope step\n")
    assert "cr3scope step: the guest did not step within 0.2 s" in text and "after the switch" not in text, text


def test_the_vector_of_a_shared_handler_is_taken_from_the_frame(tmp_path: Path) -> None:
    """#DE pushes no error code: none of the vectors that push one can it be."""
    divide = multiboot(tmp_path, "SHARED_HANDLER", "hbreak last_switch\ncontinue\n"
                       "set var $rip = halt - 2\nhbreak handlers\ncontinue\ncr3scope fault")  # fmt: skip
    told = re.search(r"^(#\w+) shares its handler, and its frame could be that of (.*)$",
                     unwrapped(divide), re.M)  # fmt: skip
    assert told, divide
    assert "#DE" in (told[1], *told[2].split(", ")), divide
    assert not {"#PF", "#GP", "#DF"} & {told[1], *told[2].split(", ")}, divide


def test_what_is_no_frame_is_one_line(tmp_path: Path) -> None:
    text = at_last_switch(tmp_path, "HEALTHY", "cr3scope fault")
    assert re.search(r"cr3scope fault: no frame of #PF at RSP 0x[0-9a-f]+: CS would be ", text), text


@pytest.mark.parametrize("case", ["HEALTHY", "SHARED_HANDLER", "BAD_SELECTOR", "LONG_STORE"])
def test_a_saved_state_and_a_memory_dump_give_the_verdict_again(case: str, tmp_path: Path) -> None:
    saved, dumped = tmp_path / "saved.core", tmp_path / "dumped.core"
    commands = f"cr3scope check\ncr3scope save {saved}\nmonitor dump-guest-memory {dumped}\n"
    text = at_last_switch(tmp_path, case, commands)
    live = re.search(r"^verdict: (survives|faults at the .*?: (#\w+))", text, re.M)
    assert live, text
    for core in (saved, dumped):
        done = cr3scope("analyze", core, "--json", "-", "--elf", tmp_path / f"{case}.elf")
        verdict = json.loads(done.stdout)
        if case == "HEALTHY":
            assert (done.returncode, verdict["verdict"]) == (0, "healthy"), done.stderr
            assert verdict["findings"] == []
            continue
        assert (done.returncode, verdict["verdict"]) == (1, "will-fault"), done.stderr
        prediction = verdict["prediction"]
        assert live[1].startswith(f"faults at the {prediction['step'].split(' (')[0]}"), verdict
        assert f"RIP={prediction['rip']} " in text, (verdict, text)
        assert prediction["ends"] == "handled"
        assert "last_switch" in prediction["step"], prediction
        rules = re.findall(r"^rule: ([a-z0-9-]+):", text, re.M)
        assert [finding["rule"] for finding in verdict["findings"]] == rules


KERNEL = """
.globl _start
_start:
    mov %rax, %cr3
    add $0x48, %rsp
    mov %rax, %cr3
    mov %r9, %cr3
    mov %rbx, %cr3
    mov %rcx, %cr3
    mov %rdx, %cr3
    jmp .
"""


def linked(folder: Path) -> Path:
    """A kernel that is linked to where it runs; nobody runs it."""
    source, kernel = folder / "kernel.S", folder / "my kernel.elf"
    source.write_text(KERNEL)
    command = ["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x200000", "-o", kernel, source]
    subprocess.run(command, check=True)
    return kernel


def test_more_than_four_switches_have_breakpoints_and_each_reading_of_a_prefix(tmp_path: Path) -> None:
    commands = f'file "{linked(tmp_path)}"\ncr3scope break\ninfo breakpoints\n'
    text = unwrapped(multiboot(tmp_path, "HEALTHY", commands))
    assert (
        "6 mov cr3 in" in text
        and ": 0x200000, 0x200006 or 0x200007, 0x20000a or 0x20000b, 0x20000e, 0x200011, 0x200014\n" in text
    ), text
    assert text.count("hw breakpoint ") == 8, text
