"""A small QMP client. QEMU connects to us, so nothing ever polls for a socket to appear.

The protocol: docs/interop/qmp-spec.rst of QEMU. Every wait is bounded.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cr3scope import limits
from cr3scope.input.logs.register_dump import read_registers
from cr3scope.target.memory import MemoryUnavailable

REPLY_SECONDS = 3.0
_PIECE = 1 << 16
_PEER = struct.Struct("iII")  # struct ucred: process, user, group
_ACTIVATE = "blockdev-set-active"


class QmpError(MemoryUnavailable):
    """QEMU does not answer, or refuses a command."""


class QemuLeft(QmpError):
    """It has hung up: most often because it has ended."""


def _lost(command: str, error: OSError) -> QmpError:
    """What is to be said of a socket that fails."""
    kind = QemuLeft if isinstance(error, ConnectionError) else QmpError
    return kind(f"{command}: {error.strerror}")


def _version(greeting: dict[str, Any]) -> tuple[int, int] | None:
    try:
        told = greeting["QMP"]["version"]["qemu"]
        return int(told["major"]), int(told["minor"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _integer(text: str) -> int:
    if len(text) > limits.QMP_DIGITS:
        raise ValueError("a number of more digits than QEMU has")
    return int(text)


def _fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number that is none")
    return value


def _read_message(line: bytes) -> dict[str, Any] | None:
    """What a line says; None if that is no message."""
    try:
        read = json.loads(line, parse_int=_integer, parse_float=_fraction, parse_constant=_fraction)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


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
        self._unread = bytearray()
        self._awaited = ""  # the id of the command whose answer is waited for
        self._given_up = 0  # how many had no answer in time: it may still come, and answers nothing else
        self._events: list[dict[str, Any]] = []
        self._replies: list[dict[str, Any]] = []
        self._until = float("inf")
        self._is_cancelled: Callable[[], bool] = lambda: False
        self._cancel: int | None = None
        self.version: tuple[int, int] | None = None  # QEMU's, as its greeting tells
        self.ready = False  # QEMU answers, so the machine is set up
        self.closed = False  # QEMU has hung up
        self.damage = ""  # what came that is no QMP: what it may have hidden nobody knows
        self._is_flooded = False  # nothing more is read
        self._strays = 0  # answers to what nobody has asked
        with contextlib.suppress(QmpError):  # QEMU may have left at once: its exit tells more
            self._send({"execute": "qmp_capabilities", "id": "hello"})

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def argv(self) -> tuple[str, ...]:
        """Return the words with which the QEMU was started that has called; none if the system does not tell."""
        try:
            pid = _PEER.unpack(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[0]
            told = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return ()
        return tuple(os.fsdecode(word) for word in told.split(b"\0")[:-1])

    def bound(self, until: float, is_cancelled: Callable[[], bool], cancel: int | None = None) -> None:
        """Let commands raise QmpError from now on after ``until`` (monotonic), or when cancelled.

        ``cancel``: a descriptor that is readable when that may be so, which ends a wait.
        """
        self._until, self._is_cancelled, self._cancel = until, is_cancelled, cancel

    def events(self) -> list[dict[str, Any]]:
        """Return every event that has come in; call it when the socket is readable. Never waits."""
        self._receive()
        events, self._events = self._events, []
        return events

    def _check(self) -> None:
        """QmpError if no more may be asked."""
        if self._is_cancelled():
            raise QmpError("interrupted")
        if self._is_flooded:
            raise QmpError("QEMU's QMP socket is not read any more")
        if time.monotonic() > self._until:
            raise QmpError("the time for it was up")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Return what a command returns; QmpError if it is refused or takes over three seconds."""
        self._check()
        self._awaited = f"{command} {self._given_up}" if self._given_up else command
        self._replies.clear()
        self._send({"execute": command, "arguments": arguments, "id": self._awaited})
        until = min(time.monotonic() + REPLY_SECONDS, self._until)
        self._given_up += 1
        while not self._replies:
            self._check()
            self._wait(until, command)
        self._given_up -= 1
        reply = self._replies.pop()
        self._awaited = ""
        if "return" in reply:
            return reply["return"]
        error = reply["error"]
        why = error.get("desc") if isinstance(error, dict) else None
        raise QmpError(f"{command}: {why if isinstance(why, str) else 'refused'}")

    def registers(self) -> dict[str, int]:
        """Return the registers of the first CPU, by the names that `info registers` gives them.

        QmpError if it names none.
        """
        registers = read_registers(self.monitor("info registers"))
        if not registers:
            raise QmpError("info registers: no register in the answer")
        return registers

    def run_state(self) -> str:
        """Return QEMU's RunState: "running", "paused", "prelaunch", "internal-error", ..."""
        answer = self.execute("query-status")
        state = answer.get("status", "") if isinstance(answer, dict) else None
        if not isinstance(state, str):
            raise QmpError("query-status: the answer is no state")
        return state

    def activate_disks(self) -> None:
        """Let a paused machine, if it was restored, write to its disks, before anything but `cont` starts it.

        Since QEMU 10 they wait for `cont`, and a debugger's continue is none: QEMU aborts at the first write. Whether it was
        restored cannot be asked: one that was loaded before the first question is "paused" like any other.
        """
        known = self.execute("query-commands")
        names = [each.get("name") for each in known if isinstance(each, dict)] if isinstance(known, list) else []
        if _ACTIVATE in names:
            self.execute(_ACTIVATE, active=True)

    def monitor(self, line: str) -> str:
        """Return what the human monitor prints in answer to a line."""
        told = self.execute("human-monitor-command", **{"command-line": line})
        if not isinstance(told, str):
            raise QmpError(f"{line}: the answer is no text")
        return told

    def quit(self) -> None:
        """Ask QEMU to leave; do not wait for it."""
        with contextlib.suppress(QmpError):
            self._send({"execute": "quit"})

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise _lost(message["execute"], error) from error

    def _wait(self, until: float, command: str) -> None:
        left = until - time.monotonic()
        if left <= 0:
            self._check()
            raise QmpError(f"{command}: no answer within {REPLY_SECONDS:g} s")
        watched: list[socket.socket | int] = [self._socket, *([] if self._cancel is None else [self._cancel])]
        try:
            ready = select.select(watched, [], [], left)[0]
            data = self._socket.recv(_PIECE) if self._socket in ready else None
        except OSError as error:
            raise _lost(command, error) from error
        if data == b"":
            raise QemuLeft(f"{command}: QEMU has left")
        if data:
            self._take(data)
        if self._cancel in ready:
            self._check()

    def _receive(self) -> None:
        """Take what is there, but not without end: who sends for ever must not keep us from the clock."""
        with contextlib.suppress(BlockingIOError):
            try:
                for _ in range(limits.QMP_TURN_BYTES // _PIECE):
                    data = self._socket.recv(_PIECE)
                    if not data:
                        break
                    self._take(data)
                    if self._is_flooded:
                        break
                else:
                    return
            except ConnectionError:
                pass
            self.closed = True

    def _take(self, data: bytes) -> None:
        if self._is_flooded:
            return
        begin = len(self._unread)
        self._unread += data
        end = self._unread.rfind(b"\n", begin)
        if end < 0:
            if len(self._unread) > limits.QMP_MESSAGE_BYTES:
                self._flooded(f"a message of more than {limits.QMP_MESSAGE_BYTES} bytes")
            return
        lines = bytes(self._unread[:end]).split(b"\n")
        del self._unread[: end + 1]
        for line in lines:
            message = _read_message(line)
            if message is not None:
                self._sort(message)
            elif line.strip():
                self._damaged("a line that is no message")

    def _sort(self, message: dict[str, Any]) -> None:
        if "QMP" in message:
            self.version = _version(message)
        elif "event" in message:
            if len(self._events) < limits.QMP_EVENTS:
                self._events.append(message)
            else:
                self._flooded(f"more than {limits.QMP_EVENTS} events at once")
        elif "return" in message or "error" in message:
            self.ready = True
            if self._awaited and message.get("id") == self._awaited:
                self._replies.append(message)
            else:
                self._strays += 1
                if self._strays > limits.QMP_EVENTS:
                    self._flooded(f"more than {limits.QMP_EVENTS} answers that nobody had asked for")

    def _damaged(self, what: str) -> None:
        self.damage = self.damage or what

    def _flooded(self, what: str) -> None:
        """Read nothing more: who sends so much sends for ever."""
        self._damaged(what)
        self._is_flooded = self.closed = True
        self._unread.clear()
        self._events.clear()
