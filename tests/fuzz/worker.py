"""Runs a Python fuzzer seed by seed, in a process that may hang or swell: its parent sees to that.

``python -m fuzz.worker NAME FIRST COUNT SECONDS FOLDER [--lines FILE]``
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from fuzz.target import Find, Target

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "scripts" / "analyze" / "cr3scope"
MOST_SECONDS = 2.0  # of CPU, for one input
MOST_BYTES = 1 << 30  # for one input, beyond what the process has at its start
_HANG_SECONDS = 30.0  # of CPU
_DEAF_SECONDS = 600.0  # by the clock, of one that uses no CPU: on a machine that does other things too
_MOST_KEPT = 3  # of one kind: one that fails all the time shall not fill the disk


@dataclass
class Tally:
    """What became of a run of one target."""

    target: str
    executions: int = 0
    seconds: float = 0.0
    finds: dict[str, list[int]] = field(default_factory=dict)  # seeds by what was found
    reached: int = 0  # lines of its parsers
    lines: int = 0  # of how many; 0: not counted

    def add(self, what: str, seed: int) -> None:
        """Note a find."""
        self.finds.setdefault(kind_of(what), []).append(seed)

    def with_(self, more: Tally) -> Tally:
        """Return this run and one that went on behind it, as one; the lines are nobody's."""
        finds = {what: [*self.finds.get(what, []), *more.finds.get(what, [])] for what in {**self.finds, **more.finds}}
        return Tally(self.target, self.executions + more.executions, self.seconds + more.seconds, finds)


def target_of(name: str) -> Target:
    """Return the target of that name."""
    found = {each.name: each for each in importlib.import_module("fuzz.targets").TARGETS}
    return found[name]


def run_seed(target: Target, seed: int, folder: Path | None = None, kept: dict[str, int] | None = None) -> str | None:
    """Run one input; return what was found, one line, or None. The first few of a kind are kept in ``folder``."""
    case, trace = target.make(Random(seed)), ""
    start = time.process_time()
    why = None
    try:
        target.check(case)
    except Find as error:
        why = str(error)
    except MemoryError:
        why = f"more than {MOST_BYTES >> 20} MiB"
    except Exception as error:
        why, trace = f"internal error: {type(error).__name__} at {_place(error)}", traceback.format_exc()
    if why is None and time.process_time() - start > MOST_SECONDS:
        why = f"over {MOST_SECONDS:g} s"
    if why is not None and folder is not None:
        counts = {} if kept is None else kept
        counts[kind_of(why)] = counts.get(kind_of(why), 0) + 1
        if counts[kind_of(why)] <= _MOST_KEPT:
            keep(folder, f"{target.name}-{seed}{case.suffix}", case.data)
            keep(folder, f"{target.name}-{seed}.why", f"{why}\n{trace}".encode("utf-8", "replace"))
    return why


def kind_of(why: str) -> str:
    """Return what finds of one kind have in common."""
    return re.sub(r"0x[0-9a-f]+|[0-9a-f]{6,}|\d+", "N", why)[:70] if not why.startswith("internal") else why


def _place(error: BaseException) -> str:
    """Return where in the package an exception comes from."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename.startswith(str(PACKAGE))]
    return f"{Path(frames[-1].filename).relative_to(PACKAGE)}:{frames[-1].lineno}" if frames else "the fuzzer"


def keep(folder: Path, name: str, data: bytes) -> None:
    """Write what failed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


@contextmanager
def bounded_memory(most: int = MOST_BYTES) -> Iterator[None]:
    """Let this process have so many more bytes than it has now; beyond that it gets MemoryError."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _work(name: str, first: int, count: int, seconds: float, folder: Path) -> None:
    """Print a line of JSON before each input and for each find; the parent counts."""
    target, until = target_of(name), time.monotonic() + seconds
    kept: dict[str, int] = {}
    gc.collect()
    gc.freeze()  # modules stay: searching them again and again for garbage takes a sixth of the time
    with bounded_memory():
        for seed in range(first, first + count):
            if time.monotonic() > until:
                break
            print(json.dumps({"seed": seed}), flush=True)
            why = run_seed(target, seed, folder, kept)
            if why is not None:
                print(json.dumps({"seed": seed, "why": why}), flush=True)
    print(json.dumps({"done": True}), flush=True)


def drive(name: str, first: int, count: int, seconds: float, folder: Path) -> Tally:
    """Run a target in processes of its own until the time or the inputs are used up."""
    tally, start, seed = Tally(name), time.monotonic(), first
    while seed < first + count and time.monotonic() - start < seconds:
        left = seconds - (time.monotonic() - start)
        with subprocess.Popen(_command(name, seed, first + count - seed, left, folder), stdout=subprocess.PIPE, cwd=ROOT, env=environment()) as child:
            seed = _watch(child, tally, seed, folder)
    tally.seconds = time.monotonic() - start
    return tally


def _command(name: str, first: int, count: int, seconds: float, folder: Path) -> list[str]:
    return [sys.executable, "-m", "fuzz.worker", name, str(first), str(count), f"{seconds:.1f}", str(folder)]


def environment() -> dict[str, str]:
    """Return what a worker needs to find the package and the tests' own parts; its files lie in memory where they can."""
    folder = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}
    return {**os.environ, **folder, "PYTHONPATH": f"{ROOT}/scripts/analyze:{ROOT}/tests", "PYTHONHASHSEED": "0"}


def _watch(child: subprocess.Popen[bytes], tally: Tally, seed: int, folder: Path) -> int:
    """Read what the worker says; return the seed to go on with. A worker that says nothing for long is ended."""
    assert child.stdout is not None
    for line in _lines(child):
        if line is None:
            child.kill()
            tally.add("hangs", seed)
            case = target_of(tally.target).make(Random(seed))
            keep(folder, f"{tally.target}-{seed}{case.suffix}", case.data)
            break
        told = json.loads(line)
        if told.get("done"):
            return sys.maxsize if child.wait() == 0 else seed + 1
        seed = told["seed"]
        if "why" in told:
            tally.add(told["why"], seed)
        else:
            tally.executions += 1
    else:
        tally.add(f"the process died (status {child.wait()})", seed)
    return seed + 1


def _lines(child: subprocess.Popen[bytes]) -> Iterator[bytes | None]:
    """Yield each line; None once the child has worked, or been silent, for long without one."""
    assert child.stdout is not None
    kept = b""
    while True:
        if not _is_heard(child):
            yield None
            return
        piece = os.read(child.stdout.fileno(), 1 << 16)
        if not piece:
            return
        *lines, kept = (kept + piece).split(b"\n")
        yield from lines


def _is_heard(child: subprocess.Popen[bytes]) -> bool:
    """Return whether something can be read before the child has had its time."""
    assert child.stdout is not None
    began, used = time.monotonic(), _cpu_seconds(child.pid)
    while not select.select([child.stdout], [], [], 1.0)[0]:
        if _cpu_seconds(child.pid) - used > _HANG_SECONDS or time.monotonic() - began > _DEAF_SECONDS:
            return False
    return True


def _cpu_seconds(process: int) -> float:
    """Return how much a process has used of the processors; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def dies_of_ctrl_c() -> None:
    """Let SIGINT end this process without a word: who started it says what is to be said."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Work as the parent says."""
    dies_of_ctrl_c()
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("folder", type=Path)
    words = parser.parse_args()
    try:
        _work(words.name, words.first, words.count, words.seconds, words.folder)
    except BrokenPipeError:  # nobody listens any more
        os._exit(1)


if __name__ == "__main__":
    main()
