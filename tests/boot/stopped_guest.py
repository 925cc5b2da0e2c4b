"""A guest that QEMU stops at an address, and whose whole state is then saved to a file.

Every wait is bounded and says for what.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boot.channels import calling
from boot.gdb_stub import CALLS, Stub
from boot.state_file import SAVING, StateError, load, save, waiting
from cr3scope.qemu.qmp import Qmp


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the guest must stop, and the first bytes of the code there: others have been there before."""

    address: int
    code: bytes
    seconds: float  # how long it may take to get there


def save_at(stop: Stop, command: Sequence[str], begin: Path, state: Path) -> None:
    """Run ``command`` from the state ``begin``, stop it, and write the machine's state to ``state``.

    StateError if the guest does not come to the address.
    """
    words = [*command, *waiting(begin), *SAVING, "-serial", "null"]
    with calling(words, CALLS, ("-qmp", "unix:{}")) as (to_stub, to_monitor):
        stub, monitor = Stub(to_stub), Qmp(to_monitor)
        load(monitor, begin)
        _run_to(stop, stub)
        _pause(stop, stub, monitor)
        save(monitor, state)


def _run_to(stop: Stop, stub: Stub) -> None:
    """Goes on until the expected code is executed at the address."""
    until = time.monotonic() + stop.seconds
    point = f"1,{stop.address:x},1"  # a hardware breakpoint: nothing is written into the guest
    stub.ask("?")
    while True:
        stub.expect_ok(f"Z{point}")
        reply = stub.ask("c", max(until - time.monotonic(), 0))
        if not reply.startswith("T05"):
            raise StateError(f"instead of the stop at {stop.address:#x} QEMU reports {reply}")
        stub.expect_ok(f"z{point}")
        if stub.ask(f"m{stop.address:x},{len(stop.code):x}") == stop.code.hex():
            return
        stub.ask("s")


def _pause(stop: Stop, stub: Stub, qmp: Qmp) -> None:
    """From "stopped by a debugger", a state in which QEMU refuses to restore a machine, to "paused": for
    that it must run, which it does in a loop at the address where it stands."""
    loop = "ebfe"  # jmp to itself
    place = f"M{stop.address:x},{len(loop) // 2:x}"
    stub.expect_ok(f"{place}:{loop}")
    stub.send("c")
    qmp.execute("stop")
    stub.reply("c")
    stub.expect_ok(f"{place}:{stop.code.hex()[: len(loop)]}")
