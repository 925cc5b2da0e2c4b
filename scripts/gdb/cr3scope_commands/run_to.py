"""Lets the guest run to an event, for a bounded time. gdb prints nothing of the stops."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import gdb

SECONDS = 10.0
_MOST_IN_HARDWARE = 4  # DR0 to DR3; QEMU's TCG has no limit


def run_to(addresses: Iterable[int], is_emulated: bool = True) -> None:
    """Runs until one of ``addresses`` is to be executed, or :data:`SECONDS` are over.

    By hardware breakpoints, which stop the guest even where the page cannot be fetched: not every page
    can be written. On real debug registers only the first four count.
    """
    wanted = list(dict.fromkeys(addresses))
    with _alone():
        points = [
            gdb.Breakpoint(f"*{at:#x}", gdb.BP_HARDWARE_BREAKPOINT, internal=True)
            for at in (wanted if is_emulated else wanted[:_MOST_IN_HARDWARE])
        ]
        _continue(SECONDS, points)


def run_until_written(virt: int, width: int, seconds: float) -> None:
    """Runs until the ``width`` bytes at ``virt`` have been written, or the time is over."""
    kind = {1: "char", 2: "short", 4: "int", 8: "long"}[width]
    with _alone():
        point = gdb.Breakpoint(
            f"*(unsigned {kind} *){virt:#x}", gdb.BP_WATCHPOINT, gdb.WP_WRITE, internal=True
        )
        _continue(seconds, [point])


def run_until(points: Callable[[], list[gdb.Breakpoint]], seconds: float) -> None:
    """Runs until one of the points that ``points`` makes stops the guest, or the time is over."""
    with _alone():
        _continue(seconds, points())


def run_for(seconds: float) -> None:
    """Runs for a while."""
    with _alone():
        _continue(seconds, [])


def step_over() -> None:
    """One instruction. gdb complains once it stands where the new tables map nothing, but it has stepped."""
    with _quiet(), suppress(gdb.MemoryError):
        gdb.execute("stepi", to_string=True)


def _continue(seconds: float, points: list[gdb.Breakpoint]) -> None:
    """Until one of the points, which are deleted then, or until a Ctrl-C of our own."""
    timer = threading.Timer(max(seconds, 0), os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with _quiet(), suppress(KeyboardInterrupt):
            gdb.execute("continue", to_string=True)
    finally:
        timer.cancel()
        for point in points:
            point.delete()


@contextmanager
def _quiet() -> Iterator[None]:
    """gdb tells nothing of stops within it: the command says where the guest stands.

    What gdb says of signals is no notification to it, so it has no standard output meanwhile, but where a
    program listens there (gdb/MI).
    """
    gdb.execute("set suppress-cli-notifications on")
    gdb.flush()
    kept = None if _speaks_to_a_program() else os.dup(1)
    if kept is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
    try:
        yield
    finally:
        gdb.flush()
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)
        gdb.execute("set suppress-cli-notifications off")


@cache
def _speaks_to_a_program() -> bool:
    words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return any(word.lstrip(b"-").startswith((b"i=mi", b"interpreter", b"i\0mi")) for word in words)


@contextmanager
def _alone() -> Iterator[None]:
    """Other breakpoints are off within it."""
    others = [one for one in gdb.breakpoints() if one.enabled]
    for one in others:
        one.enabled = False
    try:
        yield
    finally:
        for one in others:
            one.enabled = True
