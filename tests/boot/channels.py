"""A QEMU that calls on sockets of ours: nothing polls for a file to appear."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence

CALL_SECONDS = 60.0  # from QEMU's start until it has called


class NotCalled(Exception):
    """QEMU did not start."""


@contextlib.contextmanager
def calling(command: Sequence[str], *options: tuple[str, ...]) -> Iterator[list[socket.socket]]:
    """Run QEMU within, and yield the connection that each of ``options`` makes; NotCalled if one is not made.

    In an option's words ``{}`` stands for the path of the socket to call.
    """
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as folder, contextlib.ExitStack() as stack:
        listeners, words = [], list(command)
        for number, option in enumerate(options):
            path = f"{folder}/{number}"
            listeners.append(stack.enter_context(listening(path)))
            words += [word.format(path) for word in option]
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        stack.callback(_end, process)
        yield [stack.enter_context(_accept(listener, process)) for listener in listeners]


def listening(path: str) -> socket.socket:
    """Return a socket on which someone will call."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    return listener


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _accept(listener: socket.socket, process: subprocess.Popen[bytes]) -> socket.socket:
    end = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([listener, end], [], [], CALL_SECONDS)
    finally:
        os.close(end)
    if listener in ready:
        return listener.accept()[0]
    if not ready:
        raise NotCalled(f"QEMU did not call within {CALL_SECONDS:g} s")
    said = process.communicate()[1].decode(errors="replace").strip()
    raise NotCalled(f"QEMU ended at once: {said}")
