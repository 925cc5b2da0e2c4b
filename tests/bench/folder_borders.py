"""Counts how often a verdict goes from one folder of the package to another, in the order in which functions are first called.

Ground words (x86/ and the files beside the folders) belong to no part and do not count; nor does what happens while modules
are loaded.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from pathlib import Path
from types import FrameType

PACKAGE = Path(__file__).resolve().parent.parent.parent / "scripts/analyze/cr3scope"
sys.path.insert(0, str(PACKAGE.parent))

from cr3scope.cli.main import main  # noqa: E402: found by the line above

_GROUND = ("x86", "")


def borders(words: list[str]) -> int:
    """Return the number for a command line of cr3scope, which is run."""
    order: dict[tuple[str, int], str] = {}

    def called(frame: FrameType, event: str, _what: object) -> None:
        code = frame.f_code
        is_function = code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith(("<", "__"))
        if event == "call" and is_function and code.co_filename.startswith(f"{PACKAGE}/"):
            place = code.co_filename.removeprefix(f"{PACKAGE}/")
            order.setdefault((place, code.co_firstlineno), place.rpartition("/")[0].partition("/")[0])

    sys.setprofile(called)
    try:
        main(words)
    finally:
        sys.setprofile(None)
    folders = [folder for folder in order.values() if folder not in _GROUND]
    return len(list(itertools.groupby(folders))) - 1


if __name__ == "__main__":
    print(borders(sys.argv[1:]), file=sys.stderr)
