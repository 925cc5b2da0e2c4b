"""A guest that parks on purpose is no hang; one that waits, gave up or died is not parked."""

from __future__ import annotations

from pathlib import Path

import pytest
from boot.guest import watch
from boot.reference import make

SECONDS = 30


def verdict_of(folder: Path, name: str) -> tuple[str, str, str]:
    """Status, outcome and what was seen, of a loader of tests/boot/foreign/parked/."""
    run = watch(folder, make(f"foreign/parked/{name}.efi"), SECONDS)
    seen = run.verdict["observation"]
    assert (run.status == 0) is (run.verdict["verdict"] == "healthy"), run.explain()
    assert seen is not None, run.explain()
    return run.verdict["verdict"], seen["outcome"], " ".join(run.text.split())


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param("halts", "hlt in a loop of its own at RIP=0x", marks=pytest.mark.quick),
        ("loops", "a jump to itself at RIP=0x"),
        ("masked", "interrupts on, and none comes"),
        ("panics.mended", "hlt in a loop of its own"),
    ],
)
def test_a_guest_whose_own_code_goes_nowhere_is_healthy(name: str, how: str, tmp_path: Path) -> None:
    status, outcome, text = verdict_of(tmp_path, name)
    assert (status, outcome) == ("healthy", "parked"), text
    assert how in text and "HUNG" not in text and "error" not in text, text


@pytest.mark.parametrize(
    ("name", "status", "outcome", "words"),
    [
        ("panics", "hung", "hang", "mykernel panic: no memory map"),
        ("handler", "faulted", "delivered", "#UD at RIP="),
        ("not_switched", "incomplete", "parked", "under the firmware's own tables"),
    ],
)
def test_one_that_gave_up_or_died_is_not(name: str, status: str, outcome: str, words: str, tmp_path: Path) -> None:
    seen = verdict_of(tmp_path, name)
    assert seen[:2] == (status, outcome) and words in seen[2], seen[2]
    assert "HEALTHY" not in seen[2], seen[2]


def test_a_loop_that_ends_is_no_park(tmp_path: Path) -> None:
    """cli; hlt once, and other code behind it: nobody meant to stay there."""
    status, outcome, text = verdict_of(tmp_path, "halts.mended")
    assert (status, outcome) == ("hung", "hang") and "[hang-hlt]" in text, text


@pytest.mark.parametrize(("name", "rule", "option"), [("halts", "hang-hlt", "--expect"), ("loops", "hang-loop", "--expect"), ("halts", "hang-hlt", "--until")])
def test_one_that_was_to_say_more_hangs_where_it_parks(name: str, rule: str, option: str, tmp_path: Path) -> None:
    run = watch(tmp_path, make(f"foreign/parked/{name}.efi"), SECONDS, options=(option, "never this"))
    assert (run.verdict["verdict"], run.verdict["observation"]["outcome"]) == ("hung", "hang"), run.explain()
    assert [one["rule"] for one in run.verdict["findings"]] == [rule], run.explain()
    assert f"the guest never said 'never this' ({option})" in run.text, run.explain()
