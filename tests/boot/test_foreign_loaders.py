"""Small faulty loaders that know nothing of the trace: `cr3scope run` names each cause.

Each has a twin without its mistake, which is judged healthy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from boot.guest import watch
from boot.reference import ROOT, Run, make

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


PF, GP, UD = 14, 13, 6
LOADERS = {
    "nx_pml4": Wanted("faulted", "storm", "nx-upper-level", "PML4[0] has NX", (PF, 0x11), (4, 0)),
    "trampoline_unmapped": Wanted(
        "faulted", "triple-fault", "identity-missing-trampoline", "PML4[0] is not present",
        (PF, 0x10), (4, 0),
    ),
    "stack_unmapped": Wanted(
        "faulted", "triple-fault", "stack-unmapped", "the stack is not mapped", (PF, 0x2)
    ),
    "stack_readonly": Wanted(
        "faulted", "triple-fault", "stack-readonly", "the stack at", (PF, 0x3)
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
    "conout_after_exit": Wanted(
        "faulted", "triple-fault", "access-fault", "cannot be read", (PF, 0x0), None, "(ConOut)"
    ),
    "idt_wrong_selector": Wanted(
        "faulted", "triple-fault", "idt-gate-bad", "IDT gate 6 (#UD)", (UD, None), None, "GDT limit"
    ),
    "entry_zero": Wanted("faulted", "handled", "jump-to-null", "jump to address 0", (PF, 0x10)),
    "interrupts_on": Wanted(
        "faulted", "triple-fault", "idt-unmapped", "the IDT at", (PF, 0x0), None, "cli"
    ),
    "virtual_in_entry": Wanted(
        "faulted", "handled", "reserved-bits", "PML4[256] has reserved bits set", (PF, 0x18),
        (4, 256),
    ),
    "resets": Wanted("faulted", "ran", "asked-for-reset", "asked for a reset"),
}  # fmt: skip
# Built as other people build theirs, by clang and lld; the rest by gnu-efi.
AS_PE = frozenset({"trampoline_unmapped", "tight_loop", "stack_readonly", "virtual_in_entry"})


@cache
def program(name: str) -> Path:
    """The loader, built; safe when several test processes ask at the same time."""
    folder = "foreign/pe" if name.removesuffix(".mended") in AS_PE else "foreign"
    return make(f"{folder}/{name}.efi")


def errors(run: Run) -> list[dict[str, object]]:
    return [f for f in run.verdict["findings"] if f["severity"] == "error"]


@pytest.mark.parametrize("name", LOADERS)
def test_the_cause_of_a_foreign_loaders_death_is_named(name: str, tmp_path: Path) -> None:
    wanted = LOADERS[name]
    run = watch(tmp_path, program(name), SECONDS)
    verdict = run.verdict
    assert (run.status, verdict["verdict"]) == (1, wanted.verdict), run.explain()
    seen = verdict["observation"]
    assert seen["outcome"] == wanted.ending, run.explain()
    first = seen["first"]
    if wanted.first is None:
        assert first is None, run.explain()
    else:
        assert (first["vector"], first["error_code"]) == wanted.first, run.explain()
    found = errors(run)
    assert [f["rule"] for f in found] == [wanted.rule], run.explain()
    assert wanted.cause in str(found[0]["title"]), run.explain()
    assert wanted.detail in str(found[0]["detail"]), run.explain()
    if wanted.entry is not None:
        entry = found[0]["entry"]
        assert isinstance(entry, dict)
        assert (entry["level"], entry["index"]) == wanted.entry, run.explain()


@pytest.mark.parametrize("name", LOADERS)
def test_the_same_loader_without_its_mistake_is_healthy(name: str, tmp_path: Path) -> None:
    run = watch(tmp_path, program(f"{name}.mended"), SECONDS)
    assert (run.status, run.verdict["verdict"]) == (0, "healthy"), run.explain()
    assert errors(run) == []


def test_every_loader_has_a_row() -> None:
    assert set(LOADERS) == {file.stem for file in (ROOT / "tests/boot/foreign").glob("*.c")}
