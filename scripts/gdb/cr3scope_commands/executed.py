"""Which `mov cr3` an image comes to, in its own code or in a copy of it: the guest boots twice."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.images.loaded import Image
from cr3scope.qemu.qmp import QmpError
from cr3scope.qemu.translated import COMMAND, switches_in, until_reset
from cr3scope.x86.mov_cr3 import MovCr3
from cr3scope_commands.loading import SECONDS, run_until_loaded
from cr3scope_commands.rerun import reset
from cr3scope_commands.run_to import run_for
from cr3scope_commands.target import Monitor, is_emulated

_SETTLE_SECONDS = 2.0  # of the boot, after the first one
_SLICE = 0.25


def executed_switches(name: str) -> list[MovCr3]:
    """Return each `mov cr3` that was executed, by its address.

    The guest then stands before the image's first instruction, in its second boot. UnusableInput if the image
    comes to none within :data:`SECONDS`, or the guest cannot boot twice.
    """
    if not is_emulated():
        raise UnusableInput("only QEMU's TCG tells which code it executes; this guest runs under KVM")
    first = run_until_loaded(name).image
    found = _watched(name)
    reset()
    again = run_until_loaded(name).image
    return [_in_this_boot(one, first, again) for one in found]


def _watched(name: str) -> list[MovCr3]:
    """Those of the first boot, each once."""
    found: dict[int, MovCr3] = {}
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as folder:
        path = Path(folder) / "in_asm"
        with _logged(path), path.open(errors="replace") as log:
            rest, until, is_over = "", time.monotonic() + SECONDS, False
            while not is_over and time.monotonic() < until:
                _run()
                lines, end, rest = (rest + log.read()).rpartition("\n")
                text, is_over = until_reset(lines + end)
                new = {one.offset: one for one in switches_in(text)}
                if new and not found:
                    until = min(until, time.monotonic() + _SETTLE_SECONDS)
                found |= new
                _must_live(found)
    if not found:
        raise UnusableInput(f"{name} executed no mov cr3 within {SECONDS:g} s, or before the machine reset")
    return list(found.values())


def _run() -> None:
    try:
        run_for(_SLICE)
    except gdb.error:  # QEMU may end without a word
        if gdb.selected_inferior().pid:
            raise


def _must_live(found: Iterable[int]) -> None:
    """UnusableInput if there is no machine any more, with what was found."""
    if gdb.selected_inferior().pid:
        return
    places = ", ".join(f"{at:#x}" for at in found) or "none"
    raise UnusableInput(
        "QEMU ended in the first of two boots: it must run without -no-reboot, and a guest that turns the"
        f" machine off needs -no-shutdown; mov cr3 executed until then: {places}"
    )


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """QEMU's log goes to ``path`` within it, and is off behind it."""
    monitor = Monitor()
    said = monitor.monitor(f"logfile {path}") + monitor.monitor(COMMAND)
    try:
        if not path.exists():
            raise UnusableInput(f"QEMU writes no log to {path}: {said.strip() or 'it must run on this machine'}")
        yield
    finally:
        with suppress(QmpError, gdb.error):  # the target is gone
            monitor.monitor("log none")


def _in_this_boot(one: MovCr3, first: Image, again: Image) -> MovCr3:
    return one.moved(again.base - first.base) if first.holds(one.offset) else one
