"""`make fuzz`: every fuzzer in turn, and what became of it.

``python -m fuzz --minutes 5 [--runs N] [--seed K] [--targets a,b] [--build DIR]``. Status 1 if anything was found.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from fuzz import c_targets, roundtrip
from fuzz.targets import TARGETS
from fuzz.worker import Tally, drive
from fuzz.python_lines import count_lines

_ENDLESS = 1 << 62
_COUNTED = 1500  # inputs of a Python fuzzer whose lines are counted


class _Run(Protocol):
    def __call__(self, first: int, count: int, seconds: float) -> Tally: ...


class _Job(NamedTuple):
    name: str
    run: _Run


def _jobs(folder: Path) -> Iterator[_Job]:
    for target in c_targets.targets():
        yield _Job(target.name, partial(_c_run, target, folder))
    for name in roundtrip.READINGS:
        yield _Job(f"roundtrip-{name}", partial(_round_trip, name, folder))
    for fuzzer in TARGETS:
        yield _Job(fuzzer.name, partial(_python_run, fuzzer.name, folder))


def _c_run(target: c_targets.CTarget, folder: Path, first: int, count: int, seconds: float) -> Tally:
    tally = c_targets.run(target, folder, first, count, seconds)
    files = sorted(c_targets.inputs_of(target, folder).iterdir())
    tally.reached, tally.lines = c_targets.lines_of(target, folder, files)
    return tally


def _round_trip(name: str, folder: Path, first: int, count: int, seconds: float) -> Tally:
    return roundtrip.run(name, folder, first, count, seconds)


def _python_run(name: str, folder: Path, first: int, count: int, seconds: float) -> Tally:
    tally = drive(name, first, count, seconds, folder / "fuzz" / "finds")
    tally.reached, tally.lines = count_lines(name, first, min(tally.executions, _COUNTED), folder / "fuzz")
    return tally


def _row(tally: Tally) -> str:
    rate = tally.executions / tally.seconds if tally.seconds else 0.0
    lines = f"{tally.reached}/{tally.lines} ({100 * tally.reached // tally.lines} %)" if tally.lines else "-"
    return f"{tally.target:27} {tally.executions:>11,} {rate:>9,.0f} {lines:>18} {sum(map(len, tally.finds.values())):>6}"


def main() -> int:
    """Run the fuzzers that are asked for; print the table; return 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all of them together")
    parser.add_argument("--runs", type=int, default=_ENDLESS, help="at most so many inputs for each")
    parser.add_argument("--seed", type=int, default=0, help="of the first input")
    parser.add_argument("--targets", default="", help="names, separated by commas")
    parser.add_argument("--build", type=Path, default=Path("build"))
    words = parser.parse_args()
    jobs = list(_jobs(words.build))
    wanted = [name for name in words.targets.split(",") if name] or [job.name for job in jobs]
    unknown = set(wanted) - {job.name for job in jobs}
    if unknown:
        print(f"make fuzz: no target {', '.join(sorted(unknown))}; there are {', '.join(job.name for job in jobs)}", file=sys.stderr)
        return 2
    chosen = [job for job in jobs if job.name in wanted]
    print(f"{datetime.date.today()}, seed {words.seed}, {words.minutes:g} minutes for {len(chosen)} targets", flush=True)
    print(f"{'target':27} {'executions':>11} {'a second':>9} {'lines reached':>18} {'finds':>6}", flush=True)
    found = 0
    for job in chosen:
        tally = job.run(first=words.seed, count=words.runs, seconds=60 * words.minutes / len(chosen))
        print(_row(tally), flush=True)
        for why, seeds in tally.finds.items():
            print(f"    {len(seeds)} times, first seed {seeds[0]}: {why}", flush=True)
        found += len(tally.finds)
    if found:
        print(f"what failed is kept in {words.build / 'fuzz' / 'finds'}")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
