"""The little of gdb's remote protocol that it takes to stop a guest at an address, and to let it go.

The packets: gdb's manual, appendix E. QEMU stops the guest when somebody connects.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.qemu.qmp import REPLY_SECONDS, QmpError

_PACKET = re.compile(rb"\$([^#$]*)#[0-9a-fA-F]{2}")
_INTERRUPT = b"\x03"  # no packet: while the guest runs the stub takes none
_AGAIN_SECONDS = 0.2
_HALT_SECONDS = 10.0  # until a CPU of the guest stands, on a host that does other things too
_EXITED = (b"W", b"X")  # with an exit status, or by a signal
_STOPPED = (b"T", b"S")
_WATCHED = re.compile(rb"thread:(?:p[0-9a-fA-F]{1,8}\.)?([0-9a-fA-F]{1,8});a?watch:([0-9a-fA-F]{1,16});")


class StubClosed(QmpError):
    """QEMU has closed the connection: it has ended, or is about to."""


class Kind(Enum):
    """Types of what a guest stops at; nothing is written to its memory."""

    EXECUTE = 1  # before the instruction
    WRITE = 2  # behind the instruction that stores


@dataclass(frozen=True, slots=True)
class Point:
    """Where a guest is to stop: ``length`` bytes from a virtual address on, 1 of code."""

    kind: Kind
    virt: int
    length: int = 1


class GdbStub:
    """One connection to the stub of a QEMU, over a unix socket. Every wait is bounded; QmpError if it does not answer."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._unread = b""
        try:
            self._socket.settimeout(REPLY_SECONDS)
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise QmpError(f"gdb stub: {error.strerror}") from error

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def set_point(self, point: Point) -> None:
        """Let the guest stop there."""
        self._ask(f"Z{point.kind.value},{point.virt:x},{point.length:x}")

    def clear_point(self, point: Point) -> None:
        """Take back what :meth:`set_point` did."""
        self._ask(f"z{point.kind.value},{point.virt:x},{point.length:x}")

    def go(self) -> None:
        """Let the guest run; the connection becomes readable when it stops."""
        self._send("c")

    def halt(self, has_ended: Callable[[], bool]) -> bool:
        """Stop a guest that runs, or has stopped meanwhile; return whether it stands: False if ``has_ended``, which the stub does not tell.

        QEMU loses an interrupt that comes while it lets the guest go: it is sent again.
        """
        until = time.monotonic() + _HALT_SECONDS
        while True:
            self._send_bytes(_INTERRUPT)
            again = min(time.monotonic() + _AGAIN_SECONDS, until)
            while (found := self._receive(again)) is not None:
                if found.startswith(_STOPPED):
                    return True
            if has_ended():
                return False
            if time.monotonic() >= until:
                raise QmpError("gdb stub: the guest does not stop")

    def has_stopped(self) -> bool:
        """Return whether the guest has stopped; call it when the connection is readable."""
        found = self._receive(time.monotonic())
        return found is not None and found.startswith(_STOPPED)

    def watched(self) -> tuple[int, int] | None:
        """Return the number of the CPU whose store the guest has stopped behind, and the address of the point; None if it has not stopped,
        or for something else.

        Call it when the connection is readable.
        """
        found = self._receive(time.monotonic())
        match = None if found is None or not found.startswith(_STOPPED) else _WATCHED.search(found)
        return None if match is None else (int(match[1], 16) - 1, int(match[2], 16))  # threads count from 1

    def let_go(self) -> None:
        """Let the guest run, and leave."""
        self._ask("D")
        self.close()

    def _ask(self, packet: str) -> None:
        self._send(packet)
        until = time.monotonic() + REPLY_SECONDS
        while True:
            found = self._receive(until)
            if found is not None and not found.startswith(_STOPPED):
                break
            if time.monotonic() >= until:
                raise QmpError(f"gdb stub: no answer to {packet}")
        if found != b"OK":
            raise QmpError(f"gdb stub: {packet}: {found.decode(errors='replace') or 'not known'}")

    def _send(self, packet: str) -> None:
        data = packet.encode()
        self._send_bytes(b"$%s#%02x" % (data, sum(data) & 0xFF))

    def _send_bytes(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise QmpError(f"gdb stub: {error.strerror}") from error

    def _receive(self, until: float) -> bytes | None:
        """The next packet; None if there is no whole one by then."""
        while (match := _PACKET.search(self._unread)) is None:
            self._socket.settimeout(max(until - time.monotonic(), 0))
            data = b""
            with contextlib.suppress(TimeoutError, BlockingIOError):
                try:
                    data = self._socket.recv(1 << 12)
                except ConnectionError as error:
                    raise StubClosed(f"gdb stub: {error.strerror}") from error
                if not data:
                    raise StubClosed("gdb stub: QEMU has left")
            if not data:
                return None
            self._unread += data
            if len(self._unread) > limits.STUB_PACKET_BYTES:
                raise QmpError("gdb stub: what comes is no packet")
        self._socket.settimeout(REPLY_SECONDS)
        self._unread = self._unread[match.end() :]
        with contextlib.suppress(OSError):  # who has left needs no answer: the next question tells
            self._socket.sendall(b"+")
        if match[1][:1] in _EXITED:
            raise StubClosed("gdb stub: QEMU has left")
        return match[1]
