"""What `make test` has made right before the tests: nobody asks make for it again, which looks at all files each time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

NOTES = "CR3SCOPE_TEST_MADE"  # the notes that make test-programs and make foreign-programs have left in the build folder


def made_before(build: Path, environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Return the files below ``build`` that are known to be newer than their sources; none where a test is started alone."""
    notes = [Path(note) for note in environment.get(NOTES, "").split()]
    return frozenset(name for note in notes if note.parent == build.resolve() for name in note.read_text().split())
