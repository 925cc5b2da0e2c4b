"""What tests/conftest.py does for every test: the order, and the files that are left."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from boot.reference import ROOT

TESTS = """
import pytest

def test_that_passes(tmp_path):
    (tmp_path / "disk.img").touch()

def test_that_fails(tmp_path):
    (tmp_path / "disk.img").touch()
    assert False

@pytest.mark.slow
def test_that_is_long():
    pass

@pytest.mark.xdist_group("one process")
def test_of_a_group(tmp_path):
    pass
"""


def test_groups_boots_and_what_is_slow_come_first_and_only_failures_keep_their_files(tmp_path: Path) -> None:
    tests, kept = tmp_path / "tests", tmp_path / "kept"
    for folder in ("analyze", "boot"):
        (tests / folder).mkdir(parents=True)
        (tests / folder / f"test_{folder}.py").write_text(TESTS)
    shutil.copy(ROOT / "tests/conftest.py", tests)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    quick: one\n    slow: other\n    xdist_group: more\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--basetemp", kept, tests],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert "2 failed, 6 passed" in done.stdout, done.stdout + done.stderr
    order = [done.stdout.index(name) for name in (
        "test_boot.py::test_of_a_group", "test_boot.py::test_that_passes",
        "test_analyze.py::test_that_is_long", "test_analyze.py::test_that_passes",
    )]  # fmt: skip
    assert order == sorted(order), done.stdout
    folders = {disk.parent.resolve().name for disk in kept.glob("*/disk.img")}  # pytest also links the last ones
    assert folders == {"test_that_fails0", "test_that_fails1"}, list(kept.iterdir())
