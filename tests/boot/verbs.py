"""cr3scope's verbs for tests that need the answer, and not the start of an interpreter for each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from boot.reference import ROOT, Run

_ANALYZER = ROOT / "scripts/analyze"


def cr3scope(*words: str | Path, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Return what `scripts/cr3scope` with these words prints, and its exit status.

    TimeoutExpired if that takes longer than ``seconds``.
    """
    server = _server()
    assert server.stdin is not None and server.stdout is not None
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as folder:
        out, err = Path(folder, "stdout"), Path(folder, "stderr")
        request = {"words": [str(word) for word in words], "stdout": str(out), "stderr": str(err),
                   "seconds": seconds}  # fmt: skip
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        status = json.loads(server.stdout.readline())
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
def _server() -> subprocess.Popen[str]:
    """One for each process of the tests; it ends with it."""
    environment = {**os.environ, "PYTHONPATH": str(_ANALYZER), "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, Path(__file__).with_name("verb_server.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
