"""A small QMP client. QEMU connects to us, so nothing ever polls for a socket to appear.

The protocol: docs/interop/qmp-spec.rst of QEMU. Every wait is bounded.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cr3scope.input.logs.register_dump import read_registers
from cr3scope.target.memory import MemoryUnavailable

REPLY_SECONDS = 3.0
_MAX_MESSAGE = 1 << 24
_ACTIVATE = "blockdev-set-active"


class QmpError(MemoryUnavailable):
    """QEMU does not answer, or refuses a command."""


def _version(greeting: dict[str, Any]) -> tuple[int, int] | None:
    try:
        told = greeting["QMP"]["version"]["qemu"]
        return int(told["major"]), int(told["minor"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


class Listener:
    """A unix socket on which QEMU will call."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(str(path))
            self._socket.listen(1)
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> Qmp:
        """Return the connection, once the socket is readable."""
        return Qmp(self._socket.accept()[0])

    def close(self) -> None:
        self._socket.close()


class Qmp:
    """One connection to one QEMU."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._unread = b""
        self._events: list[dict[str, Any]] = []
        self._replies: list[dict[str, Any]] = []
        self._until = float("inf")
        self._is_cancelled: Callable[[], bool] = lambda: False
        self.version: tuple[int, int] | None = None  # QEMU's, as its greeting tells
        self.ready = False  # QEMU answers, so the machine is set up
        self.closed = False  # QEMU has hung up
        with contextlib.suppress(QmpError):  # QEMU may have left at once: its exit tells more
            self._send({"execute": "qmp_capabilities", "id": "hello"})

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def bound(self, until: float, is_cancelled: Callable[[], bool]) -> None:
        """Let commands raise QmpError from now on after ``until`` (monotonic), or when cancelled."""
        self._until, self._is_cancelled = until, is_cancelled

    def events(self) -> list[dict[str, Any]]:
        """Return every event that has come in; call it when the socket is readable. Never waits."""
        self._receive()
        events, self._events = self._events, []
        return events

    def execute(self, command: str, **arguments: Any) -> Any:
        """Return what a command returns; QmpError if it is refused or takes over three seconds."""
        if self._is_cancelled():
            raise QmpError("interrupted")
        if time.monotonic() > self._until:
            raise QmpError("the time for it was up")
        self._send({"execute": command, "arguments": arguments, "id": command})
        until = time.monotonic() + REPLY_SECONDS
        while True:
            for reply in self._replies:
                if reply.get("id") == command:
                    self._replies.clear()
                    if "return" not in reply:
                        why = reply.get("error", {}).get("desc", "refused")
                        raise QmpError(f"{command}: {why}")
                    return reply["return"]
            self._wait(until, command)

    def registers(self) -> dict[str, int]:
        """Return the registers of the first CPU, by the names that `info registers` gives them."""
        return read_registers(self.monitor("info registers"))

    def run_state(self) -> str:
        """Return QEMU's RunState: "running", "paused", "prelaunch", "internal-error", ..."""
        answer = self.execute("query-status")
        return str(answer.get("status", "")) if isinstance(answer, dict) else ""

    def activate_disks(self) -> None:
        """Let a paused machine that was restored write to its disks, before anything but `cont` starts it.

        Since QEMU 10 they wait for `cont`, and a debugger's continue is none: QEMU aborts at the first write.
        """
        if any(command["name"] == _ACTIVATE for command in self.execute("query-commands")):
            self.execute(_ACTIVATE, active=True)

    def monitor(self, line: str) -> str:
        """Return what the human monitor prints in answer to a line."""
        return str(self.execute("human-monitor-command", **{"command-line": line}))

    def quit(self) -> None:
        """Ask QEMU to leave; do not wait for it."""
        with contextlib.suppress(QmpError):
            self._send({"execute": "quit"})

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise QmpError(f"{message['execute']}: {error.strerror}") from error

    def _wait(self, until: float, command: str) -> None:
        left = until - time.monotonic()
        if left <= 0:
            raise QmpError(f"{command}: no answer within {REPLY_SECONDS:g} s")
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            return  # the next turn says so
        except OSError as error:
            raise QmpError(f"{command}: {error.strerror}") from error
        finally:
            self._socket.setblocking(False)
        if not data:
            raise QmpError(f"{command}: QEMU has left")
        self._take(data)

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                while data := self._socket.recv(1 << 16):
                    self._take(data)
            except ConnectionError:
                pass
            self.closed = True

    def _take(self, data: bytes) -> None:
        *lines, self._unread = (self._unread + data).split(b"\n")
        self._unread = self._unread[-_MAX_MESSAGE:]
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if not isinstance(message, dict):
                continue
            if "QMP" in message:
                self.version = _version(message)
            elif "event" in message:
                self._events.append(message)
            elif "return" in message or "error" in message:
                self.ready = True
                self._replies.append(message)
