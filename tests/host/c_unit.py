"""Builds and runs the C unit tests.

A test is ``test_NAME.c`` here, linked with the project files that ``test_NAME.sources`` lists.

The rule that builds one, ``$(BUILD)/host/test_NAME``, is the Makefile's.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from boot.made import made_before

HOST = Path(__file__).resolve().parent
ROOT = HOST.parent.parent
BUILD = Path(os.environ.get("BUILD", "build"))

BUILD_SECONDS = 120
RUN_SECONDS = 60

# A make that runs the tests must not lend its jobserver and flags to the make that builds one.
_MAKE_PRIVATE = frozenset({"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"})


def names() -> list[str]:
    """Every C unit test, without the suffix."""
    return sorted(path.stem for path in HOST.glob("test_*.c"))


def build(name: str) -> Path:
    """Builds one test and returns the program; a failure carries the compiler's words."""
    return build_path(f"host/{name}")


def build_path(name: str) -> Path:
    """Builds one file below the build folder."""
    target = BUILD / name
    if name in made_before(ROOT / BUILD):
        return ROOT / target
    environment = {key: value for key, value in os.environ.items() if key not in _MAKE_PRIVATE}
    try:
        made = subprocess.run(
            ["make", "--no-print-directory", str(target)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise AssertionError(f"make {target}: not built within {BUILD_SECONDS} s") from None
    assert made.returncode == 0, f"make {target} failed:\n{made.stdout}"
    return ROOT / target


def run(program: Path, **environment: str) -> str:
    """Runs a built test and returns what it printed; a failure carries that text."""
    try:
        done = subprocess.run(
            [str(program)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=RUN_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{program}: still running after {RUN_SECONDS} s") from None
    assert done.returncode == 0, f"{program} exited with {done.returncode}:\n{done.stdout}"
    return done.stdout
