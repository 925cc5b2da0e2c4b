"""In which modes a rule speaks, in words and in the columns of a table."""

from __future__ import annotations

from cr3scope.diagnose.rule import Rule
from cr3scope.x86.mode import ALL_MODES, Mode

COLUMNS: tuple[str, ...] = tuple(mode.value.partition(" ")[0] for mode in Mode)  # `real`, `protected`, ...


def modes_in_words(rule: Rule) -> str:
    """Return the modes in which a rule speaks, from real mode up."""
    if not rule.modes:
        return "none: of a file, before any CPU runs it"
    if rule.modes == ALL_MODES:
        return "every mode"
    return ", ".join(mode.value for mode in Mode if mode in rule.modes)


def mode_marks(rule: Rule) -> tuple[str, ...]:
    """Return a mark or nothing for each of ``COLUMNS``."""
    return tuple("x" if mode in rule.modes else "" for mode in Mode)
