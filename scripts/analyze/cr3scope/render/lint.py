"""What lint says, as text and as JSON: the contract ``cr3scope.lint/1`` (fields are added, never renamed)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.lint import Linted
from cr3scope.render import finding as words
from cr3scope.render.table import WIDTH, Block, Cell
from cr3scope.render.wrapped import wrapped
from cr3scope.text import printable

SCHEMA = "cr3scope.lint/1"
_LABEL = 8


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that cannot be used, and why."""

    path: Path
    why: str


def as_blocks(files: Sequence[Linted | Refused]) -> Iterator[Block]:
    """Yield one head line for each file, and its findings below it."""
    for file in files:
        if isinstance(file, Linted):
            yield _head(file)
            for finding in file.findings:
                yield from _finding(finding)
            for left in file.left_out:
                yield from _labelled("note", left, "note")


def _head(file: Linted) -> Cell:
    counts = [(sum(one.severity is severity for one in file.findings), severity.value) for severity in Severity]
    said = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count)
    worst = next((name for count, name in counts if count), "good")
    return Cell(f"{printable(str(file.path))}: {said or 'nothing found'} ({', '.join(file.forms)})", worst)


def _finding(finding: Finding) -> Iterator[Block]:
    label = finding.severity.value
    yield from _labelled(label, f"{words.title(finding)} [{finding.rule}]", label)
    if finding.source is not None:
        yield from _labelled("at", finding.source)
    for line in words.proof(finding):
        yield from _labelled("proof", line)
    if finding.severity is not Severity.NOTE:
        yield from _labelled("mend", words.fix(finding))


def _labelled(label: str, said: str, style: str = "") -> Iterator[Block]:
    lines = wrapped(printable(said), WIDTH - _LABEL - 2)
    for number, line in enumerate(lines):
        yield Cell(f"  {'' if number else label:<{_LABEL}}{line}", style)


def as_dict(files: Sequence[Linted | Refused]) -> dict[str, object]:
    """Return the plain values of ``cr3scope.lint/1``."""
    return {"schema": SCHEMA, "files": [_file(file) for file in files]}


def _file(file: Linted | Refused) -> dict[str, object]:
    """``error``: why the file cannot be used, null of one that was looked at."""
    if isinstance(file, Refused):
        return {"file": str(file.path), "error": file.why, "forms": [], "findings": [], "left_out": []}
    return {
        "file": str(file.path), "error": None, "forms": list(file.forms), "findings": [_plain(one) for one in file.findings],
        "left_out": list(file.left_out),
    }  # fmt: skip


def _plain(finding: Finding) -> dict[str, object]:
    return {
        **words.plain(finding),
        "range": None if finding.range is None else [f"{bound:#x}" for bound in finding.range],
        "source": finding.source,
    }
