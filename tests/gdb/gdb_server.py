"""Within gdb: waits for requests, and lets a fork of this gdb go on with what its command line says next.

The project's commands are imported once, which takes longer than most of what tests ask of them; ``forked_gdb`` is the
other side. A line of standard input is a request, a line of the pipe ``ANSWERS`` the answer.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import sys

LIBRARIES = ("capstone", "rich.console", "rich.table")  # what functions of the package import


def serve(answers: int) -> None:
    """Answer requests until there are no more. Returns in each fork; in this gdb never."""
    for package in ("cr3scope", "cr3scope_commands"):
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            importlib.import_module(module.name)
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()
    sys.stdout.flush()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            become(request["stdout"], request["stderr"])
            return
        os.write(answers, json.dumps(ended(pid, request["seconds"])).encode() + b"\n")
    os._exit(0)


def ended(pid: int, seconds: float) -> int | None:
    """Return the exit status of a fork, None if it took too long."""
    end = os.pidfd_open(pid)
    is_done = select.select([end], [], [], seconds)[0]
    os.close(end)
    if not is_done:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if is_done else None


def become(stdout: str, stderr: str) -> None:
    """Print to files, and have no input."""
    for number, path in ((0, os.devnull), (1, stdout), (2, stderr)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.dup2(opened, number)
        os.close(opened)


serve(int(os.environ["ANSWERS"]))
