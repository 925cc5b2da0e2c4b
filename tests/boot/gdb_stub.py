"""QEMU's gdb stub: GDB's remote protocol (the GDB manual, appendix E), of it only what the tests take. Every wait is bounded."""

from __future__ import annotations

import contextlib
import select
import socket
import time

from boot.state_file import StateError

CALLS = ("-chardev", "socket,path={},id=gdb", "-gdb", "chardev:gdb")  # words with which QEMU calls (boot.channels)


class QemuLeft(StateError):
    """QEMU has ended."""


class Stub:
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
                with contextlib.suppress(ConnectionError):  # of its end QEMU 10 tells, and leaves
                    self._socket.sendall(b"+")
                return reply
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                raise StateError(f"no answer to gdb packet {packet} within {seconds:g} s")
            data = b""
            with contextlib.suppress(ConnectionError):
                data = self._socket.recv(1 << 16)
            if not data:
                raise QemuLeft(f"QEMU left before it answered gdb packet {packet}")
            self._unread += data

    def expect_ok(self, packet: str) -> None:
        """Ask, StateError unless it is done."""
        reply = self.ask(packet)
        if reply != "OK":
            raise StateError(f"QEMU answers gdb packet {packet} with {reply or 'nothing'}")
