"""`make fuzz`: every fuzzer, some at a time, and what became of it.

``python -m fuzz --minutes 5 [--jobs N] [--runs N] [--seed K] [--targets a,b] [--build DIR]``. Status 1 if anything was found.
Without a seed each goes on behind the last input of the run before, which the build folder knows.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fuzz import c_targets, roundtrip
from fuzz.python_lines import count_lines
from fuzz.targets import TARGETS
from fuzz.worker import Tally, dies_of_ctrl_c, drive

_ENDLESS = 1 << 62
_PART_SECONDS = 300.0  # of a job, after which what it had is noted
_COUNTED = 1500  # inputs of a Python fuzzer whose lines are counted


class _Job(NamedTuple):
    """A fuzzer. ``run`` takes the first seed, how many inputs at most, and seconds. ``lines``: how many of its parsers' lines were reached, and of how many; of so many inputs from the first on.
    ``ends_with_a_find``: it does not go on behind one.
    """

    name: str
    run: Callable[[int, int, float], Tally]
    lines: Callable[[int, int], tuple[int, int]]
    ends_with_a_find: bool = True


class _Asked(NamedTuple):
    """A job and its share: seed of the next input, how many more at most, seconds that are left; and what came of it so far."""

    job: _Job
    first: int
    count: int
    seconds: float
    had: Tally

    def after(self, tally: Tally) -> _Asked:
        """Return what is left when a part of it has run."""
        return self._replace(first=self.first + tally.executions, count=self.count - tally.executions, seconds=self.seconds - tally.seconds,
                             had=self.had.with_(tally))  # fmt: skip

    @property
    def is_over(self) -> bool:
        """Return whether nothing is left that is worth a start."""
        return self.count <= 0 or self.seconds < 1


class Past:
    """How many inputs each fuzzer had in this build folder, and since when: a run goes on where the last one ended."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "fuzz" / "past.json"
        try:
            self._inputs: dict[str, int] = {name: int(count) for name, count in json.loads(self._file.read_bytes()).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._inputs = {}

    def inputs(self, name: str) -> int:
        """Return how many inputs a fuzzer had before; its next seed."""
        return self._inputs.get(name, 0)

    def add(self, tally: Tally, first: int) -> None:
        """Note a run that began with this seed, if it began where the past ends."""
        if first == self.inputs(tally.target):
            self._inputs[tally.target] = first + tally.executions
            self._file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._file.with_suffix(".new")
            fresh.write_text(json.dumps(self._inputs, indent=1))
            fresh.replace(self._file)


def _jobs(folder: Path) -> Iterator[_Job]:
    for target in c_targets.targets():
        yield _Job(target.name, partial(c_targets.run, target, folder), partial(_c_lines, target, folder))
    for name in roundtrip.READINGS:
        yield _Job(f"roundtrip-{name}", partial(roundtrip.run, name, folder), _no_lines)
    for fuzzer in TARGETS:
        yield _Job(fuzzer.name, partial(_python_run, fuzzer.name, folder), partial(_python_lines, fuzzer.name, folder), False)


def _c_lines(target: c_targets.CTarget, folder: Path, _first: int, _count: int) -> tuple[int, int]:
    return c_targets.lines_of(target, folder, sorted(c_targets.inputs_of(target, folder).iterdir()))


def _no_lines(_first: int, _count: int) -> tuple[int, int]:
    return 0, 0


def _python_run(name: str, folder: Path, first: int, count: int, seconds: float) -> Tally:
    return drive(name, first, count, seconds, folder / "fuzz" / "finds")


def _python_lines(name: str, folder: Path, first: int, count: int) -> tuple[int, int]:
    return count_lines(name, first, min(count, _COUNTED), folder / "fuzz")


def _perform(asked: _Asked) -> tuple[_Asked, Tally | None]:
    """Run a part of what is asked for."""
    return asked, asked.job.run(asked.first, asked.count, min(asked.seconds, _PART_SECONDS))


def _count(asked: _Asked) -> tuple[_Asked, Tally | None]:
    """Count the lines that all of its inputs have reached."""
    asked.had.reached, asked.had.lines = asked.job.lines(asked.first - asked.had.executions, asked.had.executions)
    return asked, None


def _performed(asked: Iterable[_Asked], at_once: int, past: Past) -> Iterator[Tally]:
    """Run so many jobs at a time, and yield what became of each; each part of one is noted when it is over, so that who is interrupted
    loses little."""
    waiting: deque[tuple[Callable[[_Asked], tuple[_Asked, Tally | None]], _Asked]] = deque((_perform, each) for each in asked)
    running: set[Future[tuple[_Asked, Tally | None]]] = set()
    pool = ProcessPoolExecutor(at_once, initializer=dies_of_ctrl_c)
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.add(pool.submit(*waiting.popleft()))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each, tally in (future.result() for future in done):
                if tally is None:
                    yield each.had
                    continue
                past.add(tally, each.first)
                left = each.after(tally)
                is_stuck = not tally.executions or tally.finds and each.job.ends_with_a_find
                waiting.appendleft((_count if left.is_over or is_stuck else _perform, left))
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown()


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
    jobs = list(_jobs(words.build))
    wanted = [name for name in words.targets.split(",") if name] or [job.name for job in jobs]
    unknown = set(wanted) - {job.name for job in jobs}
    if unknown:
        print(f"make fuzz: no target {', '.join(sorted(unknown))}; there are {', '.join(job.name for job in jobs)}", file=sys.stderr)
        return 2
    past = Past(words.build)
    chosen = [job for job in jobs if job.name in wanted]
    at_once = min(words.jobs, len(chosen))
    seconds = 60 * words.minutes * at_once / len(chosen)
    asked = [_Asked(job, past.inputs(job.name) if words.seed is None else words.seed, words.runs, seconds, Tally(job.name)) for job in chosen]
    begin = "going on" if words.seed is None else f"seed {words.seed}"
    print(f"{datetime.date.today()}, {begin}, {words.minutes:g} minutes for {len(chosen)} targets, {at_once} at a time", flush=True)
    print(f"{'target':27} {'executions':>11} {'a second':>9} {'in all':>11} {'lines reached':>18} {'finds':>6}", flush=True)
    found = 0
    for tally in _performed(asked, at_once, past):
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
