"""Runs of gdb for tests that are not about its start: each in a fork of one that has the project's commands."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

from boot.reference import ROOT

_SERVER = Path(__file__).with_name("gdb_server.py")
_COMMANDS = ROOT / "scripts/gdb/cr3scope_gdb.py"
_NO_THREADS = "maintenance set worker-threads 0"  # a fork has none
_SCRIPT = "commands"


class _Server(NamedTuple):
    process: subprocess.Popen[str]
    answers: IO[str]
    folder: Path


def run(script: Path, seconds: float) -> str:
    """Return what `gdb -batch -x script` prints with the project's commands, what it says of errors last.

    TimeoutExpired if that takes longer than ``seconds``.
    """
    server = _server()
    assert server.process.stdin is not None
    place = server.folder / _SCRIPT
    place.unlink(missing_ok=True)
    place.symlink_to(script)
    out, err = (server.folder / name for name in ("stdout", "stderr"))
    out.unlink(missing_ok=True)
    err.unlink(missing_ok=True)
    server.process.stdin.write(json.dumps({"stdout": str(out), "stderr": str(err), "seconds": seconds}) + "\n")
    server.process.stdin.flush()
    answer = server.answers.readline()
    assert answer, f"gdb has left; exit {server.process.wait()}"
    if json.loads(answer) is None:
        raise subprocess.TimeoutExpired(["gdb", str(script)], seconds)
    return out.read_text(errors="replace") + err.read_text(errors="replace")


@cache
def _server() -> _Server:
    """One for each process of the tests; it ends with it."""
    folder = Path(tempfile.mkdtemp(prefix="cr3scope-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    read, write = os.pipe()
    process = subprocess.Popen(
        ["gdb", "-q", "-nx", "-batch", "-ex", _NO_THREADS, "-x", _COMMANDS, "-x", _SERVER, "-x", folder / _SCRIPT],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, pass_fds=[write],
        env={**os.environ, "ANSWERS": str(write), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(write)
    return _Server(process, os.fdopen(read), folder)
