"""QEMU's command line for the reference boot: what scripts/boot/qemu-command prints, which is asked once for each set of settings."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from boot.reference import ROOT

_PROGRAM = ROOT / "scripts/boot/qemu-command"
_DISK, _VARIABLES = "disk.img", "vars.fd"
_OF_PYTEST = "PYTEST_"  # its variables change from test to test, and mean nothing to QEMU


def qemu_words(folder: Path, settings: Mapping[str, str]) -> list[str]:
    """Return the words for a run in ``folder``, whose boot volume is disk.img there; the variable store is put there, too.

    ``settings``: variables that docs/running.md lists, beside those of the environment.
    """
    given = {**os.environ, **settings}
    place, words, variables = _asked(tuple(sorted(each for each in given.items() if not each[0].startswith(_OF_PYTEST))))
    (folder / _VARIABLES).write_bytes(variables)
    doubled = str(folder).replace(",", ",,")  # as QEMU wants a comma within a value
    return [word.replace(place, doubled) for word in words]


@cache
def _asked(environment: tuple[tuple[str, str], ...]) -> tuple[str, list[str], bytes]:
    """A folder, the words for a run in that, and the variable store that was put there."""
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as name:
        folder = Path(name)
        done = subprocess.run([_PROGRAM, folder, folder / _DISK], env=dict(environment), capture_output=True, text=True, check=True)
        return name, done.stdout.splitlines(), (folder / _VARIABLES).read_bytes()
