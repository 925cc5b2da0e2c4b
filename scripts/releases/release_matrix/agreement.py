"""Whether the releases say the same: of one tree, the verdicts are equal but for addresses and counts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from release_matrix.outcome import RUNS, VERDICTS, Outcome, Step

# Firmware of another version lies elsewhere, and makes another number of interrupts.
_ADDRESS = re.compile(r"\b(?:0x)?[0-9a-f]{5,16}\b")
_COUNT = re.compile(r"\b\d+(?= (?:exceptions|records)\b)")
_COUNTS = frozenset({"records", "offset"})
_LOW_LEVELS = (1, 2)  # PT and PD: which of their entries it is follows from where the firmware has put something


def compare(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Add to each outcome the step that holds its verdicts against those of the first release."""
    if all(_kept(folder, outcome, run) is None for outcome in outcomes for run in RUNS):
        return  # no release came as far as a verdict: its own steps say why
    for outcome in outcomes:
        log = folder / f"{outcome.name}.{VERDICTS}.log"
        found = [f"{run}: no verdict" for run in RUNS if _kept(folder, outcome, run) is None] or [
            f"{run}: {place}"
            for run in RUNS
            for place in differences(_kept(folder, outcomes[0], run), _kept(folder, outcome, run))
        ]
        log.write_text("".join(f"{line}\n" for line in found))
        first = "the first" if outcome is outcomes[0] else f"as {outcomes[0].name}'s"
        outcome.steps[VERDICTS] = Step(not found, f"differ: {found[0]}" if found else first, log)


def differences(one: object, other: object, place: str = "") -> Iterator[str]:
    """Yield where two parts of JSON documents differ by more than addresses and counts, and what each has there."""
    if isinstance(one, dict) and isinstance(other, dict):
        is_place = one.get("level") in _LOW_LEVELS and one.get("level") == other.get("level")
        for key in sorted({*one, *other} - _COUNTS - ({"index"} if is_place else set())):
            yield from differences(one.get(key), other.get(key), f"{place}.{key}" if place else key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (mine, its) in enumerate(zip(one, other, strict=True)):
            yield from differences(mine, its, f"{place}[{number}]")
    elif _comparable(one) != _comparable(other):
        yield f"{place or 'verdict'}: {one!r} and {other!r}"


def _comparable(value: object) -> object:
    return _COUNT.sub("N", _ADDRESS.sub("ADDRESS", value)) if isinstance(value, str) else value


def _kept(folder: Path, outcome: Outcome, run: str) -> object:
    """Return a verdict that was kept; None if there is none that can be read."""
    try:
        return json.loads((folder / f"{outcome.name}.{run}.json").read_text())
    except (OSError, ValueError):
        return None
