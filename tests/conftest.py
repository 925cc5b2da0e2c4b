"""What holds for every test: which are `quick` (docs/contributing.md), and that only failures leave files behind."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# No machine boots in them. A new test there is quick by itself; one that takes half a second says `slow`.
UNITS = {"analyze", "host", "setup"}
_PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage while tests are collected, and never again among what stays from then on.

    A million objects come, and none goes: a sixth of the time that each process of the tests takes before its first test.
    """
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the units as quick, but for the slow ones; of the boots those are quick that say so themselves.

    Boots come first, and the slow units before the others: what is short is left for the end, so that no process waits long
    for the last one. Before all others come the groups, which are long and need no saved machine: one process makes that,
    meanwhile.
    """
    units = {path: path.relative_to(Path(__file__).parent).parts[0] in UNITS for path in {item.path for item in items}}
    places = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if units[item.path] and "slow" not in marks:
            item.add_marker("quick")
        places[item] = (units[item.path], "xdist_group" not in marks, "slow" not in marks)
    items.sort(key=places.__getitem__)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Note of each test whether it passed."""
    outcome = yield
    if call.when == "call":
        item.stash[_PASSED] = outcome.get_result().passed  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _only_failures_keep_their_files(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove `tmp_path` once its test has passed: the disks of all boots together are 13 GB."""
    folder = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    if folder is not None and request.node.stash.get(_PASSED, False):
        shutil.rmtree(folder, ignore_errors=True)
