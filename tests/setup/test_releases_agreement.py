"""`make releases` holds each release's verdicts against the first one's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from release_matrix.agreement import compare, differences
from release_matrix.outcome import VERDICTS, Outcome

BOOKWORM = {
    "verdict": "faulted",
    "findings": [{"rule": "nx-upper-level", "entry": {"index": 0, "phys": "0xdda0000"}, "detail": "CR2=0xdf8b05b"}],
    "observation": {"records": 129, "detail": "129 exceptions, all handled", "switch": {"offset": 605192}},
}
TRIXIE = {
    "verdict": "faulted",
    "findings": [{"rule": "nx-upper-level", "entry": {"index": 0, "phys": "0xe26a000"}, "detail": "CR2=0xe44f05b"}],
    "observation": {"records": 130, "detail": "130 exceptions, all handled", "switch": {"offset": 280858}},
}


def test_addresses_and_counts_make_no_difference() -> None:
    assert list(differences(BOOKWORM, TRIXIE)) == []


@pytest.mark.parametrize(("level", "other", "is_same"), [(1, 1, True), (2, 2, True), (3, 3, False), (4, 4, False), (1, 2, False)])
def test_the_index_of_an_entry_of_low_tables_is_part_of_an_address(level: int, other: int, is_same: bool) -> None:
    found = list(differences({"level": level, "index": 111}, {"level": other, "index": 113}))
    assert (found == []) is is_same, found


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({**TRIXIE, "verdict": "healthy"}, "verdict: "),
        ({**TRIXIE, "findings": []}, "findings: "),
        ({**TRIXIE, "findings": [{**TRIXIE["findings"][0], "entry": {"index": 1, "phys": "0xe26a000"}}]},
         "findings[0].entry.index: 0 and 1"),
        ({**TRIXIE, "observation": {**TRIXIE["observation"], "detail": "130 exceptions, one handled"}},
         "observation.detail: "),
        ({**TRIXIE, "agreement": True}, "agreement: None and True"),
        (None, "verdict: "),
    ],
)  # fmt: skip
def test_any_other_difference_is_named_by_its_place(changed: object, place: str) -> None:
    [found] = differences(BOOKWORM, changed)
    assert found.startswith(place), found


def test_a_release_that_says_something_else_has_failed(tmp_path: Path) -> None:
    said = {"bookworm": BOOKWORM, "trixie": TRIXIE, "sid": {**TRIXIE, "verdict": "healthy"}}
    for name, verdict in said.items():
        for run in ("run-trace", "flagship"):
            (tmp_path / f"{name}.{run}.json").write_text(json.dumps(verdict))
    outcomes = [Outcome(name) for name in said]
    compare(outcomes, tmp_path)
    assert [outcome.steps[VERDICTS].passed for outcome in outcomes] == [True, True, False]
    assert outcomes[2].steps[VERDICTS].said.startswith("differ: run-trace: verdict: 'faulted' and 'healthy'")
    assert len((tmp_path / "sid.verdicts.log").read_text().splitlines()) == 2


def test_a_release_without_a_verdict_differs(tmp_path: Path) -> None:
    (tmp_path / "bookworm.run-trace.json").write_text(json.dumps(BOOKWORM))
    (tmp_path / "trixie.run-trace.json").write_text("{")
    outcomes = [Outcome("bookworm"), Outcome("trixie")]
    compare(outcomes, tmp_path)
    assert [outcome.steps[VERDICTS].passed for outcome in outcomes] == [False, False]
    assert outcomes[1].steps[VERDICTS].said == "differ: run-trace: no verdict"


def test_releases_that_never_booted_agree_on_nothing(tmp_path: Path) -> None:
    outcomes = [Outcome("bookworm"), Outcome("trixie")]
    compare(outcomes, tmp_path)
    assert not any(VERDICTS in outcome.steps for outcome in outcomes)
