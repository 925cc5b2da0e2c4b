"""The tests' own way to cr3scope's verbs."""

from __future__ import annotations

import os
from pathlib import Path

from boot.verbs import cr3scope
from cr3scope.qemu import brood


def test_verbs_run_below_no_process_of_the_tests() -> None:
    """A guest that one of them watches within itself ends with all that is below that process: once it was a verb of another's."""
    assert cr3scope("--version").returncode == 0
    below = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in brood._below(os.getpid())]
    assert not [words for words in below if b"verb_server.py" in words]
