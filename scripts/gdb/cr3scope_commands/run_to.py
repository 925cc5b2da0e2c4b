"""Lets the guest run to an event, for a bounded time. gdb prints nothing of the stops.

A Ctrl-C of the person's raises KeyboardInterrupt; the end of the time does not.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import gdb

from cr3scope_commands.gdb_settings import in_c, quiet, setting

SECONDS = 10.0
STEP_SECONDS = 5.0
HARDWARE_MOST = 4  # DR0 to DR3; QEMU's TCG has no limit


def run_to(addresses: Iterable[int], is_emulated: bool = True, seconds: float = SECONDS) -> None:
    """Run until one of ``addresses`` is to be executed, or the time is over.

    By hardware breakpoints, which stop the guest even where the page cannot be fetched: not every page can be
    written. On real debug registers only the first four count.
    """
    wanted = list(dict.fromkeys(addresses))
    run_until(
        lambda: [hardware_break(at) for at in (wanted if is_emulated else wanted[:HARDWARE_MOST])], seconds
    )


def run_until(points: Callable[[], list[gdb.Breakpoint]], seconds: float) -> None:
    """Run until one of the points that ``points`` makes stops the guest, or the time is over."""
    with _alone():
        with in_c():
            made = points()
        try:
            _go("continue", seconds)
        finally:
            for point in made:
                point.delete()


def run_for(seconds: float) -> None:
    """Run for a while."""
    with _alone():
        _go("continue", seconds)


def step_over(seconds: float = STEP_SECONDS) -> None:
    """Step one instruction of the selected CPU; the others stand still.

    gdb complains once it stands where the new tables map nothing, but it has stepped. The time is bounded: a
    CPU that is halted makes no step.
    """
    with _alone(), setting("scheduler-locking", "on"), suppress(gdb.MemoryError):
        _go("stepi", seconds)


def hardware_break(virt: int) -> gdb.Breakpoint:
    """Return a hardware breakpoint of the commands' own, which gdb does not list."""
    return gdb.Breakpoint(f"*{virt:#x}", gdb.BP_HARDWARE_BREAKPOINT, internal=True)


def _go(command: str, seconds: float) -> None:
    """Until the guest stops, or until a Ctrl-C of our own."""
    is_over = threading.Event()
    interrupted: list[gdb.StopEvent] = []

    def end() -> None:
        is_over.set()
        os.kill(os.getpid(), signal.SIGINT)

    def stopped(event: gdb.StopEvent) -> None:
        if isinstance(event, gdb.SignalEvent) and event.stop_signal == "SIGINT":
            interrupted.append(event)

    timer = threading.Timer(max(seconds, 0), end)
    gdb.events.stop.connect(stopped)
    timer.start()
    try:
        with quiet():
            gdb.execute(command, to_string=True)
    except KeyboardInterrupt:
        if not is_over.is_set():
            raise
    finally:
        timer.cancel()
        gdb.events.stop.disconnect(stopped)
    if interrupted and not is_over.is_set():
        raise KeyboardInterrupt


@contextmanager
def _alone() -> Iterator[None]:
    """Other breakpoints are off within it."""
    others = [one for one in gdb.breakpoints() if one.enabled]
    for one in others:
        one.enabled = False
    try:
        yield
    finally:
        with suppress(gdb.error):  # the target is gone
            for one in others:
                one.enabled = True
