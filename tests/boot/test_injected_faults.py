"""Every injectable fault is named first, and the prediction equals what QEMU then did."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest
from boot.reference import boot, make


# Nothing happens until the first exception: see the pairs.
STRIKE_ONLY_WITH_OTHERS = {"idt-unmapped"}

# Whose handlers cannot be fetched, or whose handlers alone can.
WITHOUT_SAFE_IDT_TOO = {"nx-upper-level:low", "nx-upper-level:kernel"}


@cache
def rows() -> list[tuple[str, str]]:
    """(inject value, expected rule) of every row of the loader's fault table."""
    program = make("host/list_faults")
    listed = subprocess.run([program], capture_output=True, text=True, check=True)
    table = [line.split("\t") for line in listed.stdout.splitlines()]
    return [(columns[0], columns[2]) for columns in table]


def check_fault(folder: Path, inject: str, rules: list[str], config: str) -> None:
    run = boot(folder, inject=inject, config=config)
    verdict = run.verdict
    assert run.status == 1, run.explain()
    assert verdict["verdict"] == "faulted", run.explain()
    assert run.rules[: len(rules)] == rules, run.explain()
    assert verdict["prediction"]["outcome"] == "fault", run.explain()
    assert verdict["agreement"] is True, run.explain()
    first, predicted = verdict["observation"]["first"], verdict["prediction"]
    for field in ("vector", "error_code", "cr2", "rip"):
        assert first[field] == predicted[field], f"{field}: {run.explain()}"
    assert predicted["ends"] == verdict["observation"]["outcome"], run.explain()


def cases() -> list[tuple[str, str, str]]:
    """(inject, rule, config): every row with the safe IDT, a form of each kind without it too."""
    striking = [(inject, rule) for inject, rule in rows() if inject not in STRIKE_ONLY_WITH_OTHERS]
    caught = [(inject, rule, "safe_idt=on") for inject, rule in striking]
    kept = [(inject, rule, "safe_idt=off") for inject, rule in striking
            if ":" not in inject or inject in WITHOUT_SAFE_IDT_TOO]
    return caught + kept


@pytest.mark.parametrize(("inject", "rule", "config"), cases(), ids="-".join)
def test_fault_is_named_first_and_predicted_exactly(
    inject: str, rule: str, config: str, tmp_path: Path
) -> None:
    check_fault(tmp_path, inject, [rule], config)


PAIRS = {
    "code-unmapped,idt-unmapped": ["code-unmapped", "idt-unmapped"],
    "stack-unmapped,identity-missing-trampoline": ["identity-missing-trampoline", "stack-unmapped"],
    "nx-leaf-code,stack-readonly": ["stack-readonly", "nx-leaf-code"],
    "code-unmapped,upper-level-readonly": ["upper-level-readonly", "code-unmapped"],
}


@pytest.mark.parametrize("config", ["safe_idt=on", "safe_idt=off"])
@pytest.mark.parametrize("inject", PAIRS)
def test_two_faults_are_listed_in_the_order_in_which_they_strike(
    inject: str, config: str, tmp_path: Path
) -> None:
    check_fault(tmp_path, inject, PAIRS[inject], config)


def test_storm_under_a_full_identity_map_keeps_a_small_log(tmp_path: Path) -> None:
    run = boot(tmp_path, inject="nx-upper-level", config="safe_idt=off;identity=full")
    assert run.verdict["agreement"] is True, run.explain()
    assert run.verdict["observation"]["outcome"] == "storm", run.explain()
    assert run.verdict["observation"]["records"] > 100
    assert (tmp_path / "interrupts.log").stat().st_size < 8 << 20
