"""`make bench` starts on its own, without what a contributor's shell may export."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_figure_that_is_none_is_named_beside_those_there_are() -> None:
    """By the line of the recipe itself; other tests build in the same folder."""
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("MAKE")}
    told = subprocess.run(["make", "-n", "bench", "BENCH=triage,speed"], cwd=ROOT, env=bare, capture_output=True, text=True, timeout=300)
    [line] = [line for line in told.stdout.splitlines() if "tests/bench/bench.py" in line]
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, env=bare, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("make bench: nothing is called speed; there are wire, "), done.stderr
