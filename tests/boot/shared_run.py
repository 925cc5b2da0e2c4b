"""Boots that several tests look at: one serves them all, whichever process makes it first."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from boot.kept import kept
from boot.reference import Run, test_run
from boot.snapshot import DISK, boot_from_snapshot, snapshot_of

_SAID = "said.json"
_VOLUMES = (DISK, "vars.fd")  # 20 MB that nobody looks at once the machine is off


def shared_run(*, config: str = "", inject: str = "", **environment: str) -> Run:
    """Return what boot_from_snapshot would, for tests that write nothing into the run's folder.

    Shared by the processes of one run of the tests alone: the verdict depends on every file of the package.
    """
    of = (test_run(), snapshot_of(environment).folder.name, config, inject)
    key = hashlib.sha256(repr(of).encode()).hexdigest()[:16]

    def make(folder: Path) -> None:
        run = boot_from_snapshot(folder, config=config, inject=inject, **environment)
        for name in _VOLUMES:
            (folder / name).unlink()
        (folder / _SAID).write_text(json.dumps([run.status, run.text, run.errors]))

    folder = kept("run", key, make)
    return Run(*json.loads((folder / _SAID).read_text()), folder)
