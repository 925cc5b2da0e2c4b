"""Every injectable fault is named first, and the prediction equals what QEMU then did.

A sample of what `make test-faults` boots: every row with the safe IDT, one of each kind without it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from boot.fault_rows import FORMS, Row, judge, machine_of, of_row, rows
from boot.reference import Run, boot, first_stage, sample
from boot.shared_run import shared_run
from boot.snapshot import boot_from_snapshot

# Whose handlers cannot be fetched, or whose handlers alone can.
WITHOUT_SAFE_IDT_TOO = {"nx-upper-level:low", "nx-upper-level:kernel"}


def cases() -> list[tuple[Row, str]]:
    kept = [row for row in rows() if ":" not in row.inject or row.inject in WITHOUT_SAFE_IDT_TOO]
    return [*((row, "safe") for row in rows()), *((row, "kept") for row in sample(kept, 8))]


# One that no handler can be fetched for, one of the stack, one beyond the switch.
QUICK = {"nx-upper-level", "stack-unmapped", "code-unmapped"}


def marks(row: Row, form: str) -> list[pytest.MarkDecorator]:
    return [pytest.mark.quick] if row.inject in QUICK and form == "safe" else []


@pytest.mark.parametrize(
    ("row", "form"),
    [pytest.param(*case, id=f"{case[0].inject} {case[1]}", marks=marks(*case)) for case in cases()],
)
def test_fault_is_named_first_and_predicted_exactly(row: Row, form: str) -> None:
    judged = judge(row, form, shared_run(**of_row(row, form)))
    assert not judged.failures, "\n".join(judged.failures)


# Those that act on the top table or depend on the depth.
ON_FIVE_LEVELS = {
    "nx-upper-level", "nx-upper-level:low", "nx-upper-level:kernel", "code-unmapped:pml4", "upper-level-readonly",
    "reserved-bits:pml4-large", "non-canonical:entry", "non-canonical:stack", "bad-root", "la57-mismatch",
    "recursive-slot", "recursive-slot:readonly", "wrong-frame", "double-map-wx",
    "ap-state-differs:la57", "ap-mode-missing:lme", "ap-nxe-missing", "ap-stack-unmapped", "ap-trampoline-unmapped", "ap-shared-tss",
}  # fmt: skip


@pytest.mark.parametrize("row", sample([r for r in rows() if r.inject in ON_FIVE_LEVELS], 3), ids=lambda r: r.inject)
def test_fault_with_five_levels_is_named_first_and_predicted_exactly(row: Row, tmp_path: Path) -> None:
    run = boot_from_snapshot(
        tmp_path, inject=row.inject, config=FORMS["safe"], FIRST_STAGE=first_stage("la57"), **machine_of(row)
    )
    judged = judge(row, "safe", run)
    assert not judged.failures, "\n".join(judged.failures) + run.explain()


ROOT_REACH = 1 << 20


def test_snapshot_and_firmware_lead_to_the_same_boot(tmp_path: Path) -> None:
    settings = {"inject": "nx-leaf-code:entry", "config": FORMS["kept"]}
    whole = boot(tmp_path / "whole", **settings).verdict
    restored = boot_from_snapshot(tmp_path / "restored", **settings).verdict
    assert _from_their_root(restored) == _from_their_root(whole)


def _from_their_root(verdict: dict[str, Any]) -> str:
    """What was found, predicted and observed, with addresses near the tables' root counted from there: where the firmware puts them is its own affair."""
    root = int(verdict["findings"][0]["facts"]["raises"]["cr3"], 16)

    def told(match: re.Match[str]) -> str:
        distance = int(match[0], 16) - root
        return f"root{distance:+#x}" if abs(distance) < ROOT_REACH else match[0]

    return re.sub(r"0x[0-9a-f]+", told, json.dumps([verdict["findings"], verdict["prediction"], verdict["observation"]["first"]], indent=1))


PAIRS = {
    "code-unmapped,idt-unmapped": ["code-unmapped", "idt-unmapped"],
    "stack-unmapped,identity-missing-trampoline": ["identity-missing-trampoline", "stack-unmapped"],
    "nx-leaf-code,stack-readonly": ["stack-readonly", "nx-leaf-code"],
    "code-unmapped,upper-level-readonly": ["upper-level-readonly", "code-unmapped"],
}


@pytest.mark.parametrize("form", ["safe", "kept"])
@pytest.mark.parametrize("inject", PAIRS)
def test_two_faults_are_listed_in_the_order_in_which_they_strike(
    inject: str, form: str, tmp_path: Path
) -> None:
    run = boot_from_snapshot(tmp_path, inject=inject, config=FORMS[form])
    assert run.rules[: len(PAIRS[inject])] == PAIRS[inject], run.explain()
    check_agreement(run)


def test_storm_under_a_full_identity_map_keeps_a_small_log(tmp_path: Path) -> None:
    run = boot_from_snapshot(tmp_path, inject="nx-upper-level", config=FORMS["full/kept"])
    check_agreement(run)
    assert run.verdict["observation"]["outcome"] == "storm", run.explain()
    assert run.verdict["observation"]["records"] > 100
    assert (tmp_path / "interrupts.log").stat().st_size < 8 << 20


def check_agreement(run: Run) -> None:
    """An exception came, and it was the foreseen one."""
    assert run.verdict["prediction"]["outcome"] == "fault", run.explain()
    assert run.verdict["agreement"] is True, run.explain()
