"""A guest that QEMU stops at an address, and whose whole state is then saved to a file.

The stop: GDB's remote protocol (the GDB manual, appendix E), of it only what this takes. The state:
QEMU's migration stream (docs/devel/migration.rst of QEMU). Every wait is bounded and says for what.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cr3scope.machine.qmp import Qmp

CALL_SECONDS = 20.0  # from QEMU's start until it has called on its channels
SAVE_SECONDS = 60.0


class NotStopped(Exception):
    """The guest did not come to the address, or its state could not be saved."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the guest must stop, and the first bytes of the code there: others have been there before."""

    address: int
    code: bytes
    seconds: float  # how long it may take to get there


def save_at(stop: Stop, command: Sequence[str], state: Path) -> None:
    """Boots ``command``, stops it, and writes the machine's state to ``state``."""
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as folder, _called(folder) as (gdb, qmp):
        words = [
            *command,
            *("-S", "-serial", "null", "-no-reboot"),
            *("-chardev", f"socket,path={folder}/gdb,id=gdb", "-gdb", "chardev:gdb"),
            *("-qmp", f"unix:{folder}/qmp"),
            # A paused guest that is restored must run.
            *("-global", "migration.store-global-state=off"),
        ]
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            with _accept(gdb, process) as to_stub, _accept(qmp, process) as to_monitor:
                stub, monitor = _Stub(to_stub), Qmp(to_monitor)
                _run_to(stop, stub)
                _pause(stop, stub, monitor)
                _save(monitor, state)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@contextlib.contextmanager
def _called(folder: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets on which QEMU calls: nothing polls for a file to appear."""
    with contextlib.ExitStack() as stack:
        sockets = []
        for name in ("gdb", "qmp"):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            listener.bind(f"{folder}/{name}")
            listener.listen(1)
            sockets.append(listener)
        yield sockets[0], sockets[1]


def _accept(listener: socket.socket, process: subprocess.Popen[bytes]) -> socket.socket:
    end = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([listener, end], [], [], CALL_SECONDS)
    finally:
        os.close(end)
    if listener in ready:
        return listener.accept()[0]
    if not ready:
        raise NotStopped(f"QEMU did not call within {CALL_SECONDS:g} s")
    said = process.communicate()[1].decode(errors="replace").strip()
    raise NotStopped(f"QEMU ended at once: {said}")


class _Stub:
    """QEMU's gdb stub."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._unread = b""

    def ask(self, packet: str, seconds: float = 3.0) -> str:
        """The reply to a packet; NotStopped if none comes in time."""
        self.send(packet)
        return self.reply(packet, seconds)

    def send(self, packet: str) -> None:
        self._socket.sendall(b"$%s#%02x" % (packet.encode(), sum(packet.encode()) & 0xFF))

    def reply(self, packet: str, seconds: float = 3.0) -> str:
        """The next reply; ``packet`` is what it answers, for the message."""
        until = time.monotonic() + seconds
        while True:
            start = self._unread.find(b"$")
            end = self._unread.find(b"#", start)
            if 0 <= start < end and len(self._unread) >= end + 3:
                reply = self._unread[start + 1 : end].decode()
                self._unread = self._unread[end + 3 :]
                self._socket.sendall(b"+")
                return reply
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                raise NotStopped(f"no answer to gdb packet {packet} within {seconds:g} s")
            data = self._socket.recv(1 << 16)
            if not data:
                raise NotStopped(f"QEMU left before it answered gdb packet {packet}")
            self._unread += data


def _run_to(stop: Stop, stub: _Stub) -> None:
    """Goes on until the expected code is executed at the address."""
    until = time.monotonic() + stop.seconds
    point = f"1,{stop.address:x},1"  # a hardware breakpoint: nothing is written into the guest
    stub.ask("?")
    while True:
        _expect_ok(stub, f"Z{point}")
        reply = stub.ask("c", max(until - time.monotonic(), 0))
        if not reply.startswith("T05"):
            raise NotStopped(f"instead of the stop at {stop.address:#x} QEMU reports {reply}")
        _expect_ok(stub, f"z{point}")
        if stub.ask(f"m{stop.address:x},{len(stop.code):x}") == stop.code.hex():
            return
        stub.ask("s")


def _pause(stop: Stop, stub: _Stub, qmp: Qmp) -> None:
    """From "stopped by a debugger", a state in which QEMU refuses to restore a machine, to "paused": for
    that it must run, which it does in a loop at the address where it stands."""
    loop = "ebfe"  # jmp to itself
    place = f"M{stop.address:x},{len(loop) // 2:x}"
    _expect_ok(stub, f"{place}:{loop}")
    stub.send("c")
    qmp.execute("stop")
    stub.reply("c")
    _expect_ok(stub, f"{place}:{stop.code.hex()[: len(loop)]}")


def _expect_ok(stub: _Stub, packet: str) -> None:
    reply = stub.ask(packet)
    if reply != "OK":
        raise NotStopped(f"QEMU answers gdb packet {packet} with {reply or 'nothing'}")


def _save(qmp: Qmp, state: Path) -> None:
    capabilities = [{"capability": "events", "state": True}]
    qmp.execute("migrate-set-capabilities", capabilities=capabilities)
    qmp.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 33})
    qmp.execute("migrate", uri=f"exec:cat >{shlex.quote(str(state))}")
    until = time.monotonic() + SAVE_SECONDS
    while True:
        for event in qmp.events():
            status = _migration_status(event)
            if status == "completed":
                return
            if status == "failed":
                raise NotStopped(f"QEMU failed to save the machine's state to {state}")
        left = until - time.monotonic()
        if qmp.closed or left <= 0 or not select.select([qmp], [], [], left)[0]:
            raise NotStopped(f"the machine's state was not saved within {SAVE_SECONDS:g} s")


def _migration_status(event: dict[str, Any]) -> str | None:
    if event.get("event") != "MIGRATION":
        return None
    return str(event["data"]["status"])
