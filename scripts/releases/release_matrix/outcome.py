"""What came of a release, and of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from release_matrix.readings import Counts, Skip

# In the order in which they are taken; each must pass.
STEPS = ("root", "run-trace", "flagship", "tests")
# Those of which the verdict is kept beside the logs.
RUNS = ("run-trace", "flagship")
# What is compared once all releases have theirs.
VERDICTS = "verdicts"
# The fault of the README's example.
FLAGSHIP = "nx-upper-level"


@dataclass(frozen=True, slots=True)
class Step:
    """Hold one step's end: whether it passed, what the table says of it, and its log."""

    passed: bool
    said: str
    log: Path


@dataclass(slots=True)
class Outcome:
    """Gather what a release's steps say; seconds are None for what was not reached."""

    name: str
    reused: bool = False
    steps: dict[str, Step] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    counts: Counts | None = None
    skips: tuple[Skip, ...] = ()
    set_up_seconds: float | None = None
    run_trace_seconds: float | None = None
    tests_seconds: float | None = None

    @property
    def passed(self) -> bool:
        """Tell whether every step was taken, and everything passed."""
        return all(step in self.steps for step in STEPS) and all(step.passed for step in self.steps.values())


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if every release passed everything, and there was one at least; else 1."""
    return 0 if outcomes and all(outcome.passed for outcome in outcomes) else 1
