"""gdb on loaders that know nothing of the trace: caught before their switch, judged as `run` judges them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from boot.reference import ROOT, make
from boot.test_foreign_loaders import LOADERS, run_of
from boot.verbs import cr3scope
from gdb_session import foreign

STEP = "cr3scope break --on-load bootx64\ncontinue\ncr3scope step"


def loader(name: str, is_pe: bool) -> Path:
    return make(f"foreign/{'pe/' if is_pe else ''}{name}.efi")


@pytest.mark.parametrize(
    ("name", "is_pe", "is_caught"),
    [
        ("nx_pml4", False, True),
        ("stack_unmapped", False, False),
        ("non_canonical_jump", False, True),
        ("trampoline_unmapped", True, False),
        ("stack_readonly", True, False),
        ("virtual_in_entry", True, True),
    ],
)
def test_the_verdict_before_the_switch_is_that_of_run_afterwards(
    name: str, is_pe: bool, is_caught: bool, tmp_path: Path
) -> None:
    text = foreign(tmp_path / "gdb", loader(name, is_pe), STEP)
    flat = " ".join(text.split())
    run = run_of(name)
    rule = run.verdict["findings"][0]["rule"]
    assert rule == LOADERS[name].rule, run.explain()
    assert f"rule: {rule}: " in text, text
    first = run.verdict["observation"]["first"]
    shown = re.search(r"verdict: faults at the [a-z ]+: (#\w+) \(error (\w{4})", flat)
    assert shown, text
    assert int(shown[2], 16) == first["error_code"], text
    outcome = run.verdict["observation"]["outcome"]
    if is_caught or outcome == LOADERS[name].on_own_stack:  # the firmware's handler has a stack of its own
        assert f"caught {shown[1]} at its handler" in flat, text
        assert f"frame: RIP={first['rip']} " in flat, text
    else:
        assert f"what follows is a {outcome}" in flat, text


@pytest.mark.parametrize(("name", "is_pe"), [("nx_pml4", False), ("stack_readonly", True)])
def test_a_healthy_twin_survives_and_nothing_is_caught(
    name: str, is_pe: bool, tmp_path: Path
) -> None:
    text = foreign(tmp_path, loader(f"{name}.mended", is_pe), STEP)
    assert "verdict: survives" in text, text
    assert "rule: " not in text and "caught #" not in text, text


def test_a_loader_with_a_twin_has_symbols_before_its_first_instruction(tmp_path: Path) -> None:
    program = loader("nx_pml4", False)
    twin = program.with_suffix(".elf")
    commands = f"""cr3scope break --on-load BOOTX64.EFI
cr3scope symbols
cr3scope symbols {ROOT}/build/kernel/kernel.elf {twin}
cr3scope symbols {ROOT}/build/loader/loader.elf
"""
    text = foreign(tmp_path, program, f"{commands}continue\nbacktrace 2\n".replace(
        f"cr3scope symbols {ROOT}/build/loader/loader.elf\n", ""))
    assert re.search(r"^\d{2,3} images$", text, re.MULTILINE), text
    assert re.search(r"^0x[0-9a-f]+ +0x[0-9a-f]+ +BOOTX64.EFI", text, re.MULTILINE), text
    found = rf"{twin.name} at 0x[0-9a-f]+, 0x[0-9a-f]+ bytes, found by build id"
    assert re.search(found, " ".join(text.split())), text
    assert "kernel.elf at 0xffffffff80000000, where it is linked to run" in text, text
    assert re.search(r"load_cr3 .* at tests/boot/foreign/foreign.h:\d+", text), text
    assert re.search(r"efi_main .* at tests/boot/foreign/nx_pml4.c:\d+", text), text


def test_a_pe_file_is_found_by_its_code_and_another_one_is_not(tmp_path: Path) -> None:
    program, other = loader("stack_readonly", True), loader("virtual_in_entry", True)
    commands = f"cr3scope break --on-load bootx64\ncr3scope symbols {other} {program}"
    text = foreign(tmp_path, program, commands)
    found = rf"{program.name} at 0x[0-9a-f]+, 0x[0-9a-f]+ bytes, found by its code"
    assert re.search(found, " ".join(text.split())), text
    assert f"{other.name}: the twin of none of the" in " ".join(text.split()), text


def test_a_twin_without_a_build_id_is_found_by_its_code(tmp_path: Path) -> None:
    program = loader("nx_pml4", False)
    twin = tmp_path / "other-name.elf"
    subprocess.run(
        ["objcopy", "--remove-section=.note.gnu.build-id", program.with_suffix(".elf"), twin], check=True
    )
    text = foreign(tmp_path, program, f"cr3scope break --on-load bootx64\ncr3scope symbols {twin}")
    found = r"other-name.elf at 0x[0-9a-f]+, 0x[0-9a-f]+ bytes, found by its code"
    assert re.search(found, " ".join(text.split())), text


def test_an_elf_file_that_is_no_twin_is_one_line(tmp_path: Path) -> None:
    other = make("loader/loader.elf")
    text = foreign(tmp_path, loader("nx_pml4", False),
                   f"cr3scope break --on-load bootx64\ncr3scope symbols {other}")  # fmt: skip
    assert re.search(r"cr3scope symbols: \S+loader.elf: the twin of none of the \d+ images in memory"
                     r" \(build id [0-9a-f]{12}\.\.\.\)", text), text  # fmt: skip
    assert "Traceback" not in text


def test_a_name_that_no_image_has_is_one_line(tmp_path: Path) -> None:
    text = foreign(tmp_path, loader("nx_pml4", False),
                   "cr3scope break --on-load bootx64\ncr3scope break nosuch.efi")  # fmt: skip
    assert "cr3scope break: no loaded image is called nosuch.efi" in text, text


def test_at_reset_each_command_says_in_one_line_that_the_mode_is_wrong(tmp_path: Path) -> None:
    """But check, which follows the firmware's first instructions."""
    tried = ("try:", "    gdb.execute(f'cr3scope {name}')", "except gdb.error as error:", "    print(error)")
    each = "\n    ".join(["for name in ('maps', 'walk 0', 'diff', 'save x'):", *tried])
    commands = f"cr3scope check\npython\n{each}\nend\n"
    text = foreign(tmp_path, loader("nx_pml4", False), commands, at_reset=True)
    for name in ("maps", "walk", "diff", "save"):
        assert f"cr3scope {name}: the guest is in real mode: there is no paging to show" in text, text
    assert "verdict: survives" in text and "FAULTS" not in text, text
    assert "Traceback" not in text


DAMAGE = """python
import struct
from cr3scope.images import debug_table
from cr3scope_commands import target
now = target.stop()
_, count, table = struct.unpack("<IIQ", now.physical(debug_table.debug_table(now), 16))
gdb.write(f"the table has {count} images\\n")
gdb.selected_inferior().write_memory(table, struct.pack("<QQ", (1 << 64) - 8, 0x7fffffffffff))
end
"""


def test_damaged_entries_of_the_firmwares_list_cost_only_themselves(tmp_path: Path) -> None:
    commands = f"cr3scope break --on-load bootx64\n{DAMAGE}cr3scope symbols\ncr3scope break bootx64\n"
    text = foreign(tmp_path, loader("nx_pml4", False), commands)
    counted = re.search(r"the table has (\d+) images", text)
    assert counted, text
    # The first two entries are the firmware's core, which holds the PC, and one driver.
    assert re.search(rf"^{int(counted[1]) - 1} images$", text, re.MULTILINE), text
    assert text.count("1 mov cr3 in the image at 0x") == 2, text
    assert "Traceback" not in text


def test_a_kernel_that_is_no_pe_image_is_found_by_its_file_even_in_real_mode(tmp_path: Path) -> None:
    source, kernel = tmp_path / "kernel.S", tmp_path / "my kernel.elf"
    source.write_text(".globl _start\n_start: mov %rax, %cr3\n nop\n mov %r9, %cr3\n jmp .\n")
    subprocess.run(
        ["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x200000", "-o", kernel, source], check=True
    )
    commands = f'file "{kernel}"\ncr3scope break\ninfo breakpoints'
    text = foreign(tmp_path, loader("nx_pml4", False), commands, at_reset=True)
    assert f"2 mov cr3 in {kernel}: 0x200000, 0x200004 or 0x200005 " in " ".join(text.split()), text
    assert text.count("hw breakpoint") == 3, text


def test_a_function_is_an_address(tmp_path: Path) -> None:
    program = loader("nx_pml4", False)
    twin = program.with_suffix(".elf")
    commands = f"cr3scope break --on-load bootx64\ncr3scope symbols {twin}\ncr3scope walk efi_main"
    text = foreign(tmp_path, program, commands)
    assert re.search(r"^0x[0-9a-f]+ -> 0x[0-9a-f]+, .* a supervisor read succeeds", text, re.MULTILINE), text


@pytest.mark.parametrize("is_faulty", [True, False])
def test_the_verdict_is_that_of_the_cpu_at_the_switch(is_faulty: bool, tmp_path: Path) -> None:
    """The second CPU loads the tables; the monitor shows the first one's registers."""
    name = "ap_loads_bad_cr3" if is_faulty else "ap_loads_bad_cr3.mended"
    commands = STEP.replace("cr3scope step", "info threads\ncr3scope step")
    text = foreign(tmp_path, make(f"foreign/smp/{name}.efi"), commands, {"CPUS": "2"})
    assert re.search(r"^\* 2 ", text, re.MULTILINE), text
    if is_faulty:
        assert "verdict: faults at the next fetch: #PF" in text, text
        assert "rule: identity-missing-trampoline: " in text, text
        assert "no handler can be entered: stopped before the fault" in text, text
    else:
        assert "verdict: survives" in text and "rule: " not in text, text


def test_a_cpu_that_makes_no_switch_is_not_stepped(tmp_path: Path) -> None:
    commands = "cr3scope break --on-load bootx64\ncontinue\nthread 2\ncr3scope step"
    text = foreign(tmp_path, loader("nx_pml4.mended", False), commands, {"CPUS": "2"})
    assert re.search(r"cr3scope step: (the guest is in \w+ mode|no mov cr3 at the PC)", text), text


@pytest.mark.parametrize("language", ["rust", "fortran", "pascal"])
def test_gdbs_language_does_not_matter(language: str, tmp_path: Path) -> None:
    commands = f"set language {language}\n{STEP}\nshow language"
    text = foreign(tmp_path, loader("nx_pml4", False), commands)
    assert "rule: nx-upper-level" in text and "caught #PF at its handler" in text, text
    assert f'The current source language is "{language}".' in text, text


# Ctrl-C comes once the guest has run for a second without a stop: a moment after one of gdb's own it
# would be gdb's second, at which gdb asks whether to give up.
CTRL_C = """python
import os, signal, threading
timers = []
def let_run(event):
    while timers:
        timers.pop().cancel()
    timers.append(threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)))
    timers[-1].start()
def interrupted(command):
    gdb.events.cont.connect(let_run)
    try:
        gdb.execute(command)
    except gdb.error as error:
        print("ERROR", error)
    gdb.events.cont.disconnect(let_run)
end
set suppress-cli-notifications on
python interrupted("cr3scope break --on-load nosuchthing")
info breakpoints
show suppress-cli-notifications
maintenance packet qqemu.PhyMemMode
"""


def test_ctrl_c_ends_a_command_that_waits_for_the_guest(tmp_path: Path) -> None:
    text = foreign(tmp_path, loader("tight_loop", False), CTRL_C)
    assert "ERROR cr3scope break: interrupted\n" in text, text
    assert "No breakpoints" in text, text
    assert "notifications is on" in text, text
    assert text.rstrip().split("received: ")[1].startswith('"0"'), text


def test_a_guest_that_resets_while_a_command_waits_is_one_line(tmp_path: Path) -> None:
    text = foreign(tmp_path, loader("resets", False), "cr3scope break --on-load nosuchthing")
    assert re.search(r"^cr3scope break: QEMU ended: ", text, re.MULTILINE), text
    assert "Traceback" not in text


def test_words_are_completed(tmp_path: Path) -> None:
    wanted = {
        "break BOOT": "break BOOTX64.EFI",
        "break --": "break --on-load",
        "blame 0:PM": "blame 0:PML4",
        "handoff m": "handoff ms",
        "maps --": "maps --new",
        "step -": "step --entry",
        "walk 0 --n": "walk 0 --new",
        "walk 0 --access x": "walk 0 --access x",
        "walk efi_ma": "walk efi_main",
        f"save {ROOT}/Makef": f"save {ROOT}/Makefile",
    }
    program = loader("nx_pml4", False)
    commands = f"cr3scope break --on-load bootx64\ncr3scope symbols {program.with_suffix('.elf')}\n"
    commands += "\n".join(f"complete cr3scope {typed}" for typed in wanted)
    lines = foreign(tmp_path, program, commands).splitlines()
    for typed, completed in wanted.items():
        assert f"cr3scope {completed}" in lines, (typed, lines)


@pytest.mark.parametrize("is_faulty", [True, False])
def test_interrupts_that_are_on_are_told_if_the_new_tables_lack_the_idt(
    is_faulty: bool, tmp_path: Path
) -> None:
    """The same loader as in LOADERS, which `run` sees die of them."""
    name = "interrupts_on" if is_faulty else "interrupts_on.mended"
    saved = tmp_path / "saved.core"
    commands = f"cr3scope break --on-load bootx64\ncontinue\ncr3scope save {saved}"
    text = " ".join(foreign(tmp_path, loader(name, False), commands).split())
    done = cr3scope("analyze", saved)
    if is_faulty:
        assert re.search(r"verdict: survives \d+ instructions? unless an interrupt comes \(", text), text
        assert "rule: missing-cli: interrupts are on across the switch, and the next one is fatal" in text, text
        assert done.returncode == 1
        assert done.stdout.startswith("WILL FAULT: interrupts are on across the switch"), done.stdout
    else:
        assert "unless" not in text and "rule: " not in text, text
        assert done.returncode == 0 and done.stdout.startswith("HEALTHY: "), done.stdout
