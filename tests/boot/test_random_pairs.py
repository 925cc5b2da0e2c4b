"""Two faults in one boot, a hundred random pairs: both are named, in the order in which they strike.

`make test` takes a sample of the pairs, CI all.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from boot.fault_rows import FORMS, Row, rows, shows_fault
from boot.reference import takes_all
from boot.snapshot import boot_from_snapshot

SEED = 3
PAIRS = 100
SAMPLE = 10

# What a fault changes or hides, by how its inject value begins. Two that share a word make no pair: they
# change the same entry or register, or the first leaves nothing of what the second is about.
TOUCHES = {
    "nx-upper-level:kernel": {"text"},
    "nx-upper-level:loader": {"trampoline"},
    "nx-upper-level": {"text", "trampoline"},
    "nx-leaf-code:trampoline": {"trampoline"},
    "nx-leaf-code": {"text"},
    "nx-without-nxe": {"everything"},
    "identity-missing-trampoline": {"trampoline"},
    "code-unmapped:rodata": {"rodata"},
    "code-unmapped:data": {"data"},
    "code-unmapped:last-page": {"text"},
    "code-unmapped": {"text", "rodata", "data"},
    "idt-unmapped": {"int3"},
    "gdt-unmapped": {"int3"},
    "handler-unmapped": {"int3"},
    "selector-mismatch": {"int3"},
    "missing-cli": {"int3"},
    "stack": {"stack"},
    "upper-level-readonly:data": {"data"},
    "upper-level-readonly": {"stack"},
    "reserved-bits:stack": {"stack"},
    "reserved-bits:trampoline": {"trampoline"},
    "reserved-bits:frame": {"text"},
    "reserved-bits": {"text", "rodata", "data"},
    "virt-address-in-entry": {"text", "rodata", "data"},
    "table-shared": {"text", "rodata", "data"},
    "smep-smap-user-bit:smep": {"text", "cr4"},
    "smep-smap-user-bit:smap": {"info", "cr4"},
    "bad-root": {"everything"},
    "la57-mismatch": {"everything"},
    "boot-info-unmapped:memory-map": {"memory map"},
    "boot-info-unmapped:initrd": {"initrd"},
    "boot-info-unmapped": {"info"},
    "abi-mismatch": {"info"},
    "framebuffer": {"frame buffer"},
    "wrong-entry": {"text", "everything after"},
    "paddr-misload": {"text", "everything after"},
    "non-canonical:entry": {"text", "everything after"},
    "non-canonical:stack": {"stack"},
    "non-canonical:info": {"info"},
    "shared-page-permissions": {"text", "rodata"},
}
BEFORE_THE_ENTRY = {"trampoline", "stack", "int3"}


@cache
def touched(row: Row) -> set[str]:
    """By the longest name that fits; a fault that is not listed makes no pair."""
    names = [name for name in TOUCHES if row.inject.startswith(name)]
    return TOUCHES[max(names, key=len)] if names else {"everything"}


def makes_sense(one: Row, other: Row) -> bool:
    """Both can strike: neither undoes, repeats or hides the other for good."""
    first, second = touched(one), touched(other)
    if one.rule == other.rule or first & second or "everything" in first | second:
        return False
    if "everything after" in first:  # no code of the kernel is reached: only what strikes before is
        return second <= BEFORE_THE_ENTRY
    return "everything after" not in second or first <= BEFORE_THE_ENTRY


def pairs() -> Iterator[tuple[Row, Row]]:
    """The same ones in every process and every run, as long as the table stays."""
    striking = [row for row in rows() if row.shows == "fault"]
    sensible = [pair for pair in itertools.combinations(striking, 2) if makes_sense(*pair)]
    chosen = random.Random(SEED)
    for pair in chosen.sample(sensible, PAIRS)[: PAIRS if takes_all() else SAMPLE]:
        yield pair if chosen.random() < 0.5 else (pair[1], pair[0])


@pytest.mark.parametrize(
    ("one", "other"),
    [pytest.param(*pair, id=f"{pair[0].inject} {pair[1].inject}") for pair in pairs()],
)
def test_both_faults_are_named_in_the_order_in_which_they_strike(
    one: Row, other: Row, tmp_path: Path
) -> None:
    run = boot_from_snapshot(
        tmp_path, inject=f"{one.inject},{other.inject}", config=FORMS["safe"]
    )
    failures = list(shows_fault(run.verdict))
    assert not failures, "\n".join([*failures, run.explain()])
    assert {one.rule, other.rule} <= set(run.rules), run.explain()
    found = {one.rule: None, other.rule: None}  # the step that each strikes first
    for finding in reversed(run.verdict["findings"]):
        if finding["rule"] in found and finding["severity"] == "error":
            found[finding["rule"]] = finding["step"]
    assert run.rules[0] in found, run.explain()
    first, second = sorted(found, key=run.rules.index)
    assert found[first] == run.verdict["prediction"]["step_number"], run.explain()
    later = found[second]  # None: of what the kernel's memory holds, which no step of the plan tells of
    assert later is None or later >= found[first], run.explain()
