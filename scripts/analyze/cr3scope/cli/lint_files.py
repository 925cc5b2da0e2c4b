"""Lints the files of a run while the guest boots: nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.message import message

if TYPE_CHECKING:
    from cr3scope.verdict.linted import FileFinding


@dataclass(slots=True)
class FilesLinted:
    """What was found in the files; complete once :meth:`wait` has returned. ``notes``: what could not be looked at."""

    findings: list[FileFinding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _thread: threading.Thread | None = None

    def start(self, files: Sequence[Path], booted: Path | None) -> None:
        """Begin to look; ``booted``: the file that QEMU itself loads, of any kind."""
        if not files and booted is None:
            return
        self._thread = threading.Thread(target=self._look, args=(list(files), booted), daemon=True)
        self._thread.start()

    def wait(self) -> FilesLinted:
        """Return the same once all is looked at; the budgets of `limits.py` bound how long that takes."""
        if self._thread is not None:
            self._thread.join()
        return self

    def _look(self, files: list[Path], booted: Path | None) -> None:
        from cr3scope.diagnose.lint import lint
        from cr3scope.verdict.linted import FileFinding

        for path in dict.fromkeys((*files, *([booted] if booted else ()))):
            is_booted = booted is not None and (path == booted or path.resolve() == booted.resolve())
            try:
                where = message("in {file}, as it is before the boot", file=str(path))
                found = (replace(one, proof=(where, *one.proof)) for one in lint(path).findings)
                self.findings += [FileFinding(one, is_booted) for one in found]
            except UnusableInput as error:
                if path in files:  # of what QEMU alone is given QEMU says what is wrong
                    self.notes.append(f"not linted: {error}")
