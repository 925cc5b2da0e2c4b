"""A command and all that it starts, whoever detaches itself from it: nobody outlives the watching."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence

END_SECONDS = 2.0  # from SIGKILL to the end: who then still stands waits for a device, and cannot be ended by anybody
_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 1, 36, 37  # linux/prctl.h


def _end_with_parent() -> None:
    """In the child: even a run that is killed outright leaves no QEMU behind."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_parent() -> None:
    """Let this process get SIGTERM when the thread that has started it ends, so that it can clear away."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Brood:
    """Starts commands, each in a session of its own. Orphans of theirs become children of this process."""

    def __init__(self) -> None:
        was = ctypes.c_int()
        _LIBC.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(was))
        self._was_reaper = was.value
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._strangers = _below(os.getpid())
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, words: Sequence[str] | str, shell: bool = False) -> subprocess.Popen[bytes]:
        """Start a command with pipes for what it prints. OSError or ValueError if that cannot be."""
        process = subprocess.Popen(  # one word of the shell is the user's own
            words, shell=shell, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, preexec_fn=_end_with_parent,
        )  # fmt: skip
        self._started.append(process)
        return process

    def end(self) -> list[int]:
        """End all that is left, however it has detached itself; return the numbers of those that cannot be ended."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        own = {process.pid for process in self._started}
        until = time.monotonic() + END_SECONDS
        while (left := self._left()) and time.monotonic() < until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            for process in self._started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(until - time.monotonic(), 0))
            for pid in left - own:
                _reap(pid, until)
        return sorted(left)

    def close(self) -> None:
        """Close the pipes, and be no more a parent to orphans."""
        for process in self._started:
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                stream.close()
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, self._was_reaper)

    def _left(self) -> set[int]:
        return _below(os.getpid()) - self._strangers


def _reap(pid: int, until: float) -> None:
    """Wait for the end of one that is, or by the end of its parents becomes, a child of this process."""
    with contextlib.suppress(OSError):  # it is gone
        descriptor = os.pidfd_open(pid)
        try:
            select.select([descriptor], [], [], max(until - time.monotonic(), 0))
        finally:
            os.close(descriptor)
        os.waitpid(pid, os.WNOHANG)


def _below(ancestor: int) -> set[int]:
    """The numbers of all processes that a process, or one below it, has started and that are still there."""
    children: dict[int, list[int]] = {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):  # hundreds, at each look: a Path for each took longer than the look
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/stat", "rb", buffering=0) as stat:  # it ends meanwhile
            told = stat.read()  # "PID (name) state parent ...", and any byte may be in a name (proc(5))
            parent = int(told[told.rindex(b")") + 1 :].split(None, 2)[1])
            children.setdefault(parent, []).append(int(pid))
    found: set[int] = set()
    fresh = [ancestor]
    while fresh:
        fresh = [child for parent in fresh for child in children.get(parent, ()) if child not in found]
        found.update(fresh)
    return found
