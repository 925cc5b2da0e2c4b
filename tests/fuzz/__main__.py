"""`make fuzz`: every fuzzer, some at a time, and what became of it.

``python -m fuzz --minutes 5 [--jobs N] [--runs N] [--seed K] [--targets a,b] [--build DIR]``. Status 1 if anything was found.
Without a seed each goes on behind the last input of the run before, which the build folder knows.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from fuzz.jobs import Asked, Past, jobs, performed
from fuzz.worker import Tally

_ENDLESS = 1 << 62


def _row(tally: Tally, total: int) -> str:
    rate = tally.executions / tally.seconds if tally.seconds else 0.0
    lines = f"{tally.reached}/{tally.lines} ({100 * tally.reached // tally.lines} %)" if tally.lines else "-"
    return f"{tally.target:27} {tally.executions:>11,} {rate:>9,.0f} {total:>11,} {lines:>18} {sum(map(len, tally.finds.values())):>6}"


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all of them together")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="so many at a time")
    parser.add_argument("--runs", type=int, default=_ENDLESS, help="at most so many inputs for each")
    parser.add_argument("--seed", type=int, help="of the first input; without it each goes on where it ended")
    parser.add_argument("--targets", default="", help="names, separated by commas")
    parser.add_argument("--build", type=Path, default=Path("build"))
    words = parser.parse_args()
    if words.minutes <= 0 or words.jobs < 1 or words.runs < 1 or (words.seed or 0) < 0:
        parser.error("minutes, jobs and runs are above 0, a seed is not below it")
    return words


def main() -> int:
    """Run the fuzzers that are asked for; print the table; return 1 if anything was found."""
    words = _words()
    known = list(jobs(words.build))
    wanted = [name for name in words.targets.split(",") if name] or [job.name for job in known]
    unknown = set(wanted) - {job.name for job in known}
    if unknown:
        print(f"make fuzz: no target {', '.join(sorted(unknown))}; there are {', '.join(job.name for job in known)}", file=sys.stderr)
        return 2
    past = Past(words.build)
    chosen = [job for job in known if job.name in wanted]
    at_once = min(words.jobs, len(chosen))
    seconds = 60 * words.minutes * at_once / len(chosen)
    asked = [Asked(job, past.inputs(job.name) if words.seed is None else words.seed, words.runs, seconds, Tally(job.name)) for job in chosen]
    begin = "going on" if words.seed is None else f"seed {words.seed}"
    print(f"{datetime.date.today()}, {begin}, {words.minutes:g} minutes for {len(chosen)} targets, {at_once} at a time", flush=True)
    print(f"{'target':27} {'executions':>11} {'a second':>9} {'in all':>11} {'lines reached':>18} {'finds':>6}", flush=True)
    found = 0
    for tally in performed(asked, at_once, past):
        print(_row(tally, past.inputs(tally.target)), flush=True)
        for why, seeds in tally.finds.items():
            print(f"    {len(seeds)} times, first seed {seeds[0]}: {why}", flush=True)
        found += len(tally.finds)
    if found:
        print(f"what failed is kept in {words.build / 'fuzz' / 'finds'}")
    return int(found > 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("make fuzz: interrupted; what ended before is counted")
    except BrokenProcessPool:
        sys.exit("make fuzz: a process of its own was ended from outside; what ended before is counted")
