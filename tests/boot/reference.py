"""Boots of the reference loader for tests: one call, one finished run."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from boot.made import made_before

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("BUILD", ROOT / "build"))
FIRST_STAGES = sorted({file.stem for file in (ROOT / "tests/boot/first_stage").glob("*.c")} - {"chain"})
Case = TypeVar("Case")
BOOT_SECONDS = 180  # the longest a boot may take under TCG on two busy cores


@dataclass(frozen=True, slots=True)
class Run:
    """A finished boot: the verdict verb's exit status, what it printed, and the files it left."""

    status: int
    text: str
    errors: str
    folder: Path

    @property
    def verdict(self) -> dict[str, Any]:
        """The JSON verdict; a missing file fails with what the run printed."""
        path = self.folder / "verdict.json"
        assert path.exists(), f"no verdict.json; printed:\n{self.text}\n{self.errors}"
        loaded: dict[str, Any] = json.loads(path.read_text())
        return loaded

    @property
    def serial(self) -> bytes:
        return (self.folder / "serial.log").read_bytes()

    @property
    def rules(self) -> list[str]:
        """Rule ids of the findings of severity error, in order."""
        return [f["rule"] for f in self.verdict["findings"] if f["severity"] == "error"]

    def explain(self) -> str:
        """For assertion messages."""
        return f"exit {self.status}\n{self.text}\n{self.errors}"


def test_run() -> str:
    """Return a name that no other run of the tests has; it is the same in all its processes."""
    return os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()} alone"


def takes_all() -> bool:
    """Whether tests over many seeds and forms take all of them; `make test` takes a sample."""
    return os.environ.get("CR3SCOPE_TEST_ALL", "") == "1"


def sample(cases: Sequence[Case], every: int) -> list[Case]:
    """Return all of the cases where all are taken, else one of ``every``, the first among them."""
    return list(cases) if takes_all() else list(cases)[::every]


@cache
def make(target: str) -> Path:
    """Makes one file below the build folder; safe when several test processes ask at the same time."""
    _make(target)
    return BUILD / target


def _make(*targets: str) -> None:
    if made_before(BUILD).issuperset(targets):
        return
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "-s", *(BUILD / target for target in targets), f"BUILD={BUILD}"], cwd=ROOT, check=True)


@cache
def build() -> Path:
    """Builds loader and kernel once."""
    stages = (f"first_stage/{stage}.efi" for stage in FIRST_STAGES)
    _make("loader/loader.efi", "kernel/kernel.elf", *stages)
    return BUILD


def first_stage(name: str) -> str:
    """Value of the FIRST_STAGE variable; "" for none."""
    return str(BUILD / f"first_stage/{name}.efi") if name else ""


def boot(folder: Path, *, config: str = "", inject: str = "", **environment: str) -> Run:
    """Boots once. ``environment``: the variables of scripts/boot (MEM, CPU, INITRD, ...)."""
    built = build()
    done = subprocess.run(
        [ROOT / "scripts/boot/run-trace", built, folder],
        cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=BOOT_SECONDS + 30,
        env={**os.environ, "INJECT": inject, "CONFIG": config, "TIMEOUT": str(BOOT_SECONDS),
             **environment},
    )
    return Run(done.returncode, done.stdout, done.stderr, folder)
