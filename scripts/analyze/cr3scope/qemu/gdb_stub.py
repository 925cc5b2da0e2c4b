"""The little of gdb's remote protocol that it takes to stop a guest at an address, and to let it go.

The packets: gdb's manual, appendix E. QEMU stops the guest when somebody connects.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from pathlib import Path

from cr3scope import limits
from cr3scope.qemu.qmp import REPLY_SECONDS, QmpError

_PACKET = re.compile(rb"\$([^#$]*)#[0-9a-fA-F]{2}")
_EXITED = (b"W", b"X")  # with an exit status, or by a signal
_STOPPED = (b"T", b"S")
_HARDWARE = 1  # type of a breakpoint: nothing is written to the guest's memory
_SHORTEST = 1  # length of one


class StubClosed(QmpError):
    """QEMU has closed the connection: it has ended, or is about to."""


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

    def set_breakpoint(self, address: int) -> None:
        """Let the guest stop before it executes what lies at ``address``."""
        self._ask(f"Z{_HARDWARE},{address:x},{_SHORTEST}")

    def clear_breakpoint(self, address: int) -> None:
        """Take back what :meth:`set_breakpoint` did."""
        self._ask(f"z{_HARDWARE},{address:x},{_SHORTEST}")

    def go(self) -> None:
        """Let the guest run; the connection becomes readable when it stops."""
        self._send("c")

    def has_stopped(self) -> bool:
        """Return whether the guest has stopped; call it when the connection is readable."""
        found = self._receive(time.monotonic())
        return found is not None and found.startswith(_STOPPED)

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
        try:
            self._socket.sendall(b"$%s#%02x" % (data, sum(data) & 0xFF))
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
