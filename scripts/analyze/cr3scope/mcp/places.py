"""Which files a client may name: regular ones below the roots, whatever links say."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

from cr3scope.mcp.parameters import Unfit


class Places:
    """The roots. A relative name is one below the first of them."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(root.resolve() for root in roots)

    def file(self, name: str, of: str) -> Path:
        """Return the regular file that a client names as ``of``; Unfit if there is none, or it is elsewhere."""
        path = self._within(name, of)
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:
            raise Unfit(f"{of}: {name}: {_why(error)}") from error
        if not stat.S_ISREG(mode):
            raise Unfit(f"{of}: {name}: not a regular file")
        return path

    def folder(self, name: str, of: str) -> Path:
        """Return the folder that a client names, which may not be there yet."""
        path = self._within(name, of)
        if path.exists() and not path.is_dir():
            raise Unfit(f"{of}: {name}: not a folder")
        return path

    def file_at(self, name: str, of: str) -> str:
        """Return ``FILE[@BASE]`` with the file as it was found."""
        head, at, base = name.rpartition("@")
        if not at or (self.roots[0] / name).exists():
            return str(self.file(name, of))
        return f"{self.file(head, of)}@{base}"

    def _within(self, name: str, of: str) -> Path:
        try:
            path = (self.roots[0] / name).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # a loop of links
            raise Unfit(f"{of}: {name}: {_why(error)}") from error
        if not any(path.is_relative_to(root) for root in self.roots):
            raise Unfit(f"{of}: {name}: outside of {' and '.join(map(str, self.roots))}: `cr3scope mcp --root DIR` allows another folder")
        return path


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
