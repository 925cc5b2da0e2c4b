"""A guest that QEMU stops at an address, and whose whole state is then saved to a file.

The stop: GDB's remote protocol (the GDB manual, appendix E), of it only what this takes. Every wait is
bounded and says for what.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boot.channels import calling
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
    stub_option = ("-chardev", "socket,path={},id=gdb", "-gdb", "chardev:gdb")
    words = [*command, *waiting(begin), *SAVING, "-serial", "null"]
    with calling(words, stub_option, ("-qmp", "unix:{}")) as (to_stub, to_monitor):
        stub, monitor = _Stub(to_stub), Qmp(to_monitor)
        load(monitor, begin)
        _run_to(stop, stub)
        _pause(stop, stub, monitor)
        save(monitor, state)


class _Stub:
    """QEMU's gdb stub."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._unread = b""

    def ask(self, packet: str, seconds: float = 3.0) -> str:
        """The reply to a packet; StateError if none comes in time."""
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
                raise StateError(f"no answer to gdb packet {packet} within {seconds:g} s")
            data = self._socket.recv(1 << 16)
            if not data:
                raise StateError(f"QEMU left before it answered gdb packet {packet}")
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
            raise StateError(f"instead of the stop at {stop.address:#x} QEMU reports {reply}")
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
        raise StateError(f"QEMU answers gdb packet {packet} with {reply or 'nothing'}")
