"""Boots that several tests look at: one serves them all, whichever process makes it first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from boot.kept import kept
from boot.reference import Run, test_run
from boot.snapshot import DISK, boot_from_snapshot, snapshot_of

_SAID = "said.json"
_VOLUMES = (DISK, "vars.fd")  # 20 MB that nobody looks at once the machine is off


def shared_run(*, config: str = "", inject: str = "", **environment: str) -> Run:
    """Return what boot_from_snapshot would, for tests that write nothing into the run's folder."""
    of = (snapshot_of(environment).folder.name, config, inject)
    return shared(of, partial(boot_from_snapshot, config=config, inject=inject, **environment))


def shared(of: tuple[str, ...], boot: Callable[[Path], Run]) -> Run:
    """Return the boot that ``boot`` makes in a folder, for tests that write nothing there. ``of``: what no other boot is of.

    Shared by the processes of one run of the tests alone: the verdict depends on every file of the package.
    """
    key = hashlib.sha256(repr((test_run(), *of)).encode()).hexdigest()[:16]

    def make(folder: Path) -> None:
        run = boot(folder)
        for name in _VOLUMES:
            (folder / name).unlink()
        (folder / _SAID).write_text(json.dumps([run.status, run.text, run.errors]))

    folder = kept("run", key, make)
    return Run(*json.loads((folder / _SAID).read_text()), folder)
