"""Runs cr3scope's command lines, each in a process that is forked from this one: all modules are imported once, and
what is made at the first use is made before.

Standard input is a socket that listens: whoever connects sends lines, each a request, and gets a line for each, the answer. Each connection
has a process of its own; with the last of them the server ends. boot.verbs is the other side.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import cr3scope
from cr3scope.cli.main import main, perform

# What functions of the package import.
LIBRARIES = ("capstone", "jinja2", "rich.console", "rich.table")
_LINGER = 1.0  # seconds, for another process of the tests that is about to connect
_ROOT = Path(__file__).resolve().parents[2]
_CAPTURE = _ROOT / "tests/captures/nx-upper-level.serial.log"
_LOG = _ROOT / "tests/captures/qemu-7.2.stack-unmapped.interrupts.log"


def serve(listener: socket.socket) -> None:
    """Serve all who connect, until the last of them has gone."""
    prepare()
    serving: dict[int, int] = {}  # what is readable at a process's end: the process
    while True:
        ready, _, _ = select.select([listener, *serving], [], [])
        if listener in ready:
            pid = _serving(listener.accept()[0], listener)
            serving[os.pidfd_open(pid)] = pid
        for end in serving.keys() & set(ready):
            os.close(end)
            os.waitpid(serving.pop(end), 0)
        if not serving and not select.select([listener], [], [], _LINGER)[0]:
            return


def _serving(connection: socket.socket, listener: socket.socket) -> int:
    """Return a process of its own that answers one who has connected."""
    pid = os.fork()
    if pid == 0:
        listener.close()
        with connection.makefile("rw") as lines:
            answer(lines)
        os._exit(0)
    connection.close()
    return pid


def answer(lines: TextIO) -> None:
    """Answer requests until there are no more."""
    for line in lines:
        request = json.loads(line)
        status = run(request["words"], request["stdout"], request["stderr"], request["seconds"])
        print(json.dumps(status), file=lines, flush=True)


def prepare() -> None:
    """Do what each of the processes would else do for itself."""
    gc.disable()  # what is made here stays
    for module in pkgutil.walk_packages(cr3scope.__path__, "cr3scope."):
        importlib.import_module(module.name)
    for library in LIBRARIES:
        importlib.import_module(library)
    built = Path(os.environ.get("BUILD", _ROOT / "build"))
    elves = [path for path in (built / "loader/loader.elf", built / "kernel/kernel.elf") if path.exists()]
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
        perform(["analyze", str(_CAPTURE), "--log", str(_LOG), "--json", os.devnull])
        for path in elves:
            perform(["lint", str(path)])
    gc.freeze()
    gc.enable()


def run(words: Sequence[str], stdout: str, stderr: str, seconds: float) -> int | None:
    """Return the exit status of a command line, None if it took too long; ``stdout``, ``stderr``: paths."""
    pid = os.fork()
    if pid == 0:
        become(words, stdout, stderr)
    end = os.pidfd_open(pid)
    is_done = select.select([end], [], [], seconds)[0]
    os.close(end)
    if not is_done:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if is_done else None


def become(words: Sequence[str], stdout: str, stderr: str) -> None:
    """Be a process that runs a command line. Never returns."""
    status = 1
    try:
        for number, path in ((0, os.devnull), (1, stdout), (2, stderr)):
            opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            os.dup2(opened, number)
            os.close(opened)
        status = main(words)
    except SystemExit as end:  # argparse
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    if os.fork():  # nobody's child: what one process of the tests ends that is below it are not the verbs of others
        os._exit(0)
    with socket.socket(fileno=os.dup(sys.stdin.fileno())) as waiting:
        serve(waiting)
