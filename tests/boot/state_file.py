"""The whole state of a machine in a file, as QEMU's migration has it (docs/devel/migration.rst of QEMU).

Every wait is bounded and says for what.
"""

from __future__ import annotations

import select
import shlex
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boot.channels import listening
from boot.state_ram import take_out
from cr3scope.qemu.qmp import Qmp

SECONDS = 60.0
# What ran or was paused runs once it is restored. What the error of a disk had stopped stays so, if the
# state tells of it: that of QEMU 7.2 does.
_STOPPED, _RUNS = b"io-error\0", b"running\0\0"
# Words of a QEMU that is to be saved.
SAVING = ("-S", "-no-reboot", "-global", "migration.store-global-state=off")
_RAM = ".ram"  # behind the name of a state: the machine's memory

Event = dict[str, Any]


class StateError(Exception):
    """A guest did not come to where it was to be saved, or its state was not saved or loaded."""


def incoming(state: Path) -> list[str]:
    """Return the words with which a QEMU starts from a state."""
    return [*_memory(state), "-incoming", f"exec:cat {shlex.quote(str(state))}"]


def waiting(state: Path) -> list[str]:
    """Return the words with which a QEMU waits until it is to load a state."""
    return [*_memory(state), "-S", "-incoming", "defer"]


def _memory(state: Path) -> list[str]:
    """Return the words of a machine whose memory is a state's; what it writes there, it alone sees."""
    return ["-mem-path", f"{state}{_RAM}"]


def script(qemu: str, name: str) -> str:
    """Return a shell script that takes QEMU's place and starts from the state ``name`` in its own folder, wherever that is."""
    words = (f'"{word}"' for word in incoming(Path("$here", name)))
    return f'#!/bin/sh\nhere=${{0%/*}}\nexec {shlex.quote(qemu)} "$@" {" ".join(words)}\n'


def save(qmp: Qmp, state: Path) -> None:
    """Write the state of a paused machine to ``state``, from which it is restored as a running one; its memory beside it."""
    _set_up(qmp)
    qmp.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 33})
    otherwise = f"the machine's state was not saved to {state}"
    # Over a socket that is read to its end: what a program in between still holds would be missing.
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as folder, listening(f"{folder}/state") as listener:
        qmp.execute("migrate", uri=f"unix:{folder}/state")
        data = _received(listener, otherwise)
    _wait_for_migration(qmp, otherwise)
    place = data.rfind(_STOPPED)
    if place >= 0:
        data[place : place + len(_STOPPED)] = _RUNS
    state.write_bytes(take_out(data, Path(f"{state}{_RAM}")))


def _received(listener: socket.socket, otherwise: str) -> bytearray:
    """All that the one who calls sends."""
    data = bytearray()
    listener.settimeout(SECONDS)
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(SECONDS)
            while piece := connection.recv(1 << 20):
                data += piece
    except TimeoutError:
        raise StateError(f"{otherwise}: QEMU was silent for {SECONDS:g} s") from None
    return data


def load(qmp: Qmp, state: Path) -> None:
    """Load a state into a QEMU that was started with :func:`waiting`, which then is paused."""
    _set_up(qmp)
    qmp.execute("migrate-incoming", uri=f"exec:cat {shlex.quote(str(state))}")
    _wait_for_migration(qmp, f"the machine's state was not loaded from {state}")
    qmp.activate_disks()


def wait_for_event(qmp: Qmp, is_it: Callable[[Event], bool], seconds: float, otherwise: str) -> Event:
    """Return the first event that ``is_it``; StateError, beginning with ``otherwise``, if none comes in time."""
    until = time.monotonic() + seconds
    while True:
        for event in qmp.events():
            if is_it(event):
                return event
        left = until - time.monotonic()
        if qmp.closed:
            raise StateError(f"{otherwise}: QEMU has left")
        if left <= 0 or not select.select([qmp], [], [], left)[0]:
            raise StateError(f"{otherwise} within {seconds:g} s")


def _set_up(qmp: Qmp) -> None:
    capabilities = [{"capability": "events", "state": True}]
    qmp.execute("migrate-set-capabilities", capabilities=capabilities)


def _wait_for_migration(qmp: Qmp, otherwise: str) -> None:
    event = wait_for_event(qmp, _is_end_of_migration, SECONDS, otherwise)
    if event["data"]["status"] != "completed":
        raise StateError(f"{otherwise}: QEMU says that it failed")


def _is_end_of_migration(event: Event) -> bool:
    return event["event"] == "MIGRATION" and event["data"]["status"] in ("completed", "failed")
