"""Which of the libraries that the package uses gdb's Python has, and what works without them."""

from __future__ import annotations

import sys

from cr3scope.arrays import has_numpy
from cr3scope.x86.decode.instruction import can_decode

_WORK = "walk, maps, fault and check (of the next fetch) work"
_PACKAGES = {"numpy": "python3-numpy", "capstone": "python3-capstone"}


def missing() -> tuple[str, ...]:
    """Return the modules that gdb's Python cannot load; without any of them some command is of no use."""
    has = {"numpy": has_numpy(), "capstone": can_decode()}
    return tuple(name for name in _PACKAGES if not has[name])


def missing_line(lacking: tuple[str, ...]) -> str:
    """Return the line that names the missing modules, what works all the same, and what the rest needs."""
    version = ".".join(map(str, sys.version_info[:2]))
    packages = " ".join(_PACKAGES[name] for name in lacking)
    return f"gdb's Python {version} has no module {', '.join(lacking)}: {_WORK}; the rest needs {packages}"
