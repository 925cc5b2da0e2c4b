"""The fuzzers as jobs: some run at a time, part by part, and what each had is noted.

A module of its own: a process that does not fork (Python 3.14) must find by name what it is to run.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fuzz import c_targets, roundtrip
from fuzz.python_lines import count_lines
from fuzz.targets import TARGETS
from fuzz.worker import Tally, dies_of_ctrl_c, drive

_PART_SECONDS = 300.0  # of a job, after which what it had is noted
_COUNTED = 1500  # inputs of a Python fuzzer whose lines are counted


class Job(NamedTuple):
    """A fuzzer. ``run`` takes the first seed, how many inputs at most, and seconds. ``lines``: how many of its parsers' lines were
    reached, and of how many; of so many inputs from the first on. ``ends_with_a_find``: it does not go on behind one.
    """

    name: str
    run: Callable[[int, int, float], Tally]
    lines: Callable[[int, int], tuple[int, int]]
    ends_with_a_find: bool = True


class Asked(NamedTuple):
    """A job and its share: seed of the next input, how many more at most, seconds that are left; and what came of it so far."""

    job: Job
    first: int
    count: int
    seconds: float
    had: Tally

    def after(self, tally: Tally) -> Asked:
        """Return what is left when a part of it has run."""
        return self._replace(first=self.first + tally.executions, count=self.count - tally.executions, seconds=self.seconds - tally.seconds,
                             had=self.had.with_(tally))  # fmt: skip

    @property
    def is_over(self) -> bool:
        """Return whether nothing is left that is worth a start."""
        return self.count <= 0 or self.seconds < 1


class Past:
    """How many inputs each fuzzer had in this build folder: a run goes on where the last one ended. Several runs may note theirs."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "fuzz" / "past.json"

    def _inputs(self) -> dict[str, int]:
        try:
            return {name: int(count) for name, count in json.loads(self._file.read_bytes()).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def inputs(self, name: str) -> int:
        """Return how many inputs a fuzzer had before; its next seed."""
        return self._inputs().get(name, 0)

    def add(self, tally: Tally, first: int) -> None:
        """Note a run that began with this seed, if it began where the past ends."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with open(self._file.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            inputs = self._inputs()
            if first == inputs.get(tally.target, 0):
                fresh = self._file.with_suffix(".new")
                fresh.write_text(json.dumps({**inputs, tally.target: first + tally.executions}, indent=1))
                fresh.replace(self._file)


def jobs(folder: Path) -> Iterator[Job]:
    for target in c_targets.targets():
        yield Job(target.name, partial(c_targets.run, target, folder), partial(_c_lines, target, folder))
    for name in roundtrip.READINGS:
        yield Job(f"roundtrip-{name}", partial(roundtrip.run, name, folder), _no_lines)
    for fuzzer in TARGETS:
        yield Job(fuzzer.name, partial(_python_run, fuzzer.name, folder), partial(_python_lines, fuzzer.name, folder), False)


def _c_lines(target: c_targets.CTarget, folder: Path, _first: int, _count: int) -> tuple[int, int]:
    return c_targets.lines_of(target, folder, sorted(c_targets.inputs_of(target, folder).iterdir()))


def _no_lines(_first: int, _count: int) -> tuple[int, int]:
    return 0, 0


def _python_run(name: str, folder: Path, first: int, count: int, seconds: float) -> Tally:
    return drive(name, first, count, seconds, folder / "fuzz" / "finds")


def _python_lines(name: str, folder: Path, first: int, count: int) -> tuple[int, int]:
    return count_lines(name, first, min(count, _COUNTED), folder / "fuzz")


def _perform(asked: Asked) -> tuple[Asked, Tally | None]:
    """Run a part of what is asked for."""
    return asked, asked.job.run(asked.first, asked.count, min(asked.seconds, _PART_SECONDS))


def _count(asked: Asked) -> tuple[Asked, Tally | None]:
    """Count the lines that all of its inputs have reached."""
    asked.had.reached, asked.had.lines = asked.job.lines(asked.first - asked.had.executions, asked.had.executions)
    return asked, None


def performed(asked: Iterable[Asked], at_once: int, past: Past) -> Iterator[Tally]:
    """Run so many jobs at a time, and yield what became of each; each part of one is noted when it is over, so that who is interrupted
    loses little."""
    waiting: deque[tuple[Callable[[Asked], tuple[Asked, Tally | None]], Asked]] = deque((_perform, each) for each in asked)
    running: set[Future[tuple[Asked, Tally | None]]] = set()
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
