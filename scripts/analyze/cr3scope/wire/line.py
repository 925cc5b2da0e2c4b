"""A source that was opened: bytes come out of it until it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from typing import Protocol

from cr3scope.errors import UnusableInput
from cr3scope.wire.source import Kind, Source

CONNECT_SECONDS = 5.0
_WITHOUT_SPEED = "only a serial line has a speed"


class Line(Protocol):
    """What all have in common. ``descriptor`` can be waited for, and read without waiting."""

    @property
    def descriptor(self) -> int:
        """Return the number of the open file."""

    def losses(self) -> list[str]:
        """Return what was lost or garbled since the last call, in words."""

    def close(self) -> None:
        """Give it back."""


class Absent(UnusableInput):
    """It is not there, or nobody answers: it may come yet."""


class _Descriptor:
    """A pipe or standard input."""

    def __init__(self, descriptor: int, is_own: bool = True) -> None:
        self.descriptor = descriptor
        self._is_own = is_own

    def losses(self) -> list[str]:
        return []

    def close(self) -> None:
        if self._is_own:
            os.close(self.descriptor)


class _Socket:
    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.descriptor = connected.fileno()

    def losses(self) -> list[str]:
        return []

    def close(self) -> None:
        self._socket.close()


def open_line(source: Source, baud: int | None = None) -> Line:
    """Open what was named. ``baud``: of a serial line; None for its usual speed.

    Absent if it is not there or nobody answers; UnusableInput, one line with what to do, if it can never be.
    """
    if baud is not None and source.kind is not Kind.SERIAL:
        raise UnusableInput(f"--baud: {source.name} is a {source.kind.value}: {_WITHOUT_SPEED}")
    if source.kind is Kind.SERIAL:
        from cr3scope.wire.serial_device import open_serial  # a library that only a serial line needs

        return open_serial(source, baud)
    if source.kind is Kind.PIPE:
        return _pipe(source)
    if source.kind is Kind.STDIN:
        return _Descriptor(0, is_own=False)
    return _connected(source)


def refusal(source: Source, error: OSError, doing: str = "") -> UnusableInput:
    """Return what to raise for an error of the system: Absent for one that may pass."""
    why = f"{source.name}: {doing}{error.strerror or error}"
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH,
                       errno.ENETUNREACH, errno.ECONNRESET, errno.EIO) or isinstance(error, (TimeoutError, socket.gaierror)):  # fmt: skip
        return Absent(why)
    return UnusableInput(why)


def _pipe(source: Source) -> Line:
    try:
        descriptor = os.open(source.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise refusal(source, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise UnusableInput(f"{source.name}: somebody else listens at it: each would get half of what is said") from error
    return _Descriptor(descriptor)


def _connected(source: Source) -> Line:
    try:
        if source.kind is Kind.TCP:
            connected = socket.create_connection((source.host, source.port), CONNECT_SECONDS)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        else:
            connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connected.settimeout(CONNECT_SECONDS)
                connected.connect(source.path)
            except OSError:
                connected.close()
                raise
    except (OSError, UnicodeError) as error:  # UnicodeError: of a name that is no host's
        if not isinstance(error, OSError):
            raise UnusableInput(f"{source.name}: {source.host!r} is no name of a host") from error
        raise refusal(source, error) from error
    connected.setblocking(False)
    return _Socket(connected)
