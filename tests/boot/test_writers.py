"""`cr3scope run` tells who wrote what is guilty: on loaders that know nothing of the trace."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
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
