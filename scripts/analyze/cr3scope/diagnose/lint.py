"""What the rules find in a file that nobody has booted."""

from __future__ import annotations

from pathlib import Path

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.catalogue import RULES
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.linted_file import LintedFile
from cr3scope.images.boot_file import read_boot_file
from cr3scope.x86.decode.instruction import can_decode

_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True, slots=True)
class Linted:
    """One file: what it is (``forms``), what was found, the worst first, and what of it was ``left_out``."""

    path: Path
    forms: tuple[str, ...]
    findings: tuple[Finding, ...]
    left_out: tuple[str, ...] = ()

    @property
    def has_error(self) -> bool:
        """Return whether it cannot boot as it is, or does harm."""
        return any(one.severity is Severity.ERROR for one in self.findings)


def lint(path: Path) -> Linted:
    """Return what the rules find in a file. UnusableInput if it cannot be read, is damaged, or nothing that is booted."""
    file = read_boot_file(path)
    linted = LintedFile(file)
    found = [finding for rule in RULES for finding in rule.lint(linted)]
    left_out = []
    if file.kernel is not None:
        left_out = [f"its {what} are left out: {why}" for what, why in file.kernel.twin.left_out.items()]
        if not linted.uses.is_all:
            left_out.append("its code was not looked through whole: it has too many functions that may use the red zone or vector registers")
    if not can_decode() and (file.kernel is not None or file.efi is not None):
        left_out.append("its code was not looked at: capstone is not installed")
    return Linted(path, file.forms(), tuple(sorted(found, key=lambda one: _ORDER[one.severity])), tuple(left_out))
