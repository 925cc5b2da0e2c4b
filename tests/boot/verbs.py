"""cr3scope's verbs for tests that need the answer, and not the start of an interpreter for each."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TextIO

from boot.kept import locked
from boot.reference import ROOT, Run, test_run

_ANALYZER = ROOT / "scripts/analyze"


def cr3scope(*words: str | Path, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Return what `scripts/cr3scope` with these words prints, and its exit status.

    TimeoutExpired if that takes longer than ``seconds``.
    """
    server = _server()
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as folder:
        out, err = Path(folder, "stdout"), Path(folder, "stderr")
        request = {"words": [str(word) for word in words], "stdout": str(out), "stderr": str(err),
                   "seconds": seconds}  # fmt: skip
        print(json.dumps(request), file=server, flush=True)
        status = json.loads(server.readline())
        if status is None:
            raise subprocess.TimeoutExpired(["cr3scope", *map(str, words)], seconds)
        return subprocess.CompletedProcess(
            words, status, out.read_text(errors="replace"), err.read_text(errors="replace")
        )


def run_traced(folder: Path, loader: Path, kernel: Path, command: Sequence[str], seconds: int, *options: str) -> Run:
    """Return what `cr3scope run` makes of a QEMU command that boots the reference loader, with symbols of two ELF files.

    ``options``: further ones of `run`.
    """
    done = cr3scope(
        "run", "-o", folder, "--timeout", str(seconds), "--json", folder / "verdict.json",
        "--no-who", "--elf", loader, "--elf", kernel, *options, "--", *command, seconds=seconds + 30,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, done.stderr, folder)


@cache
def _server() -> TextIO:
    """Return a connection to the one server of all processes of the tests, which ends with the last of them."""
    name = f"\0cr3scope verbs {test_run()}"  # of no file: nothing is left
    connection = socket.socket(socket.AF_UNIX)
    with locked("verbs"):
        try:
            connection.connect(name)
        except ConnectionRefusedError:
            _start(name)
            connection.connect(name)
    return connection.makefile("rw")


def _start(name: str) -> None:
    """Start the server; who connects from now on is served once it is ready."""
    environment = {**os.environ, "PYTHONPATH": str(_ANALYZER), "OPENBLAS_NUM_THREADS": "1"}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        subprocess.run([sys.executable, Path(__file__).with_name("verb_server.py")], stdin=listener, env=environment, check=True, timeout=60)
