"""What any form for CI tells of one thing that was judged: a boot, a log, a file of a kernel."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import field
from enum import Enum

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.lint import Linted
from cr3scope.images.source_text import SourceText
from cr3scope.render import text
from cr3scope.render.finding import title
from cr3scope.render.lint import Refused, as_blocks
from cr3scope.render.source_line import file_and_line
from cr3scope.render.table import lines_of
from cr3scope.text import printable
from cr3scope.verdict.types import Verdict
from cr3scope.x86.names import entry_name


class State(Enum):
    """What it came to, as the exit status says it."""

    PASSED = 0
    FAILED = 1
    UNKNOWN = 2  # nobody could judge it


@dataclass(frozen=True, slots=True)
class SourcePlace:
    """A line of source. ``is_cause``: it made or wrote what is wrong; else the CPU stood there."""

    file: str
    line: int
    is_cause: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """One thing that was judged by ``verb``. ``name``: what reports call it; ``file``: what was looked at, None of what is no file.

    ``headline`` is the answer in one line, ``report`` the whole of it; both are safe to print. ``stood``: ``file:line`` of the code at
    which the CPU died, or will. ``verdict``: the word of JSON; "" where there is none.
    """

    name: str
    verb: str
    file: str | None
    state: State
    headline: str
    report: str
    verdict: str = ""
    findings: tuple[Finding, ...] = ()
    texts: Mapping[str, SourceText] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    stood: str | None = None

    @property
    def has_error(self) -> bool:
        """Return whether a finding says why it did not pass."""
        return any(one.severity is Severity.ERROR for one in self.findings)

    @property
    def first_error(self) -> Finding | None:
        """Return the first finding that is an error; None without one."""
        return next((one for one in self.findings if one.severity is Severity.ERROR), None)

    def place(self, finding: Finding, root: str = "") -> SourcePlace | None:
        """Return the line that made what a finding is about, else that of the code that wrote it, else, of the first error, where the CPU
        stood; None where nobody knows. A file below the folder ``root`` is named from there.
        """
        found = file_and_line(self._named(finding))
        return None if found is None else SourcePlace(below(root, found[0]), found[1], finding.source is not None or finding.writer is not None)

    def source_text(self, finding: Finding) -> str | None:
        """Return the text of the line at :meth:`place`; None if it could not be read."""
        found = self.texts.get(self._named(finding))
        return found.text if found else None

    def _named(self, finding: Finding) -> str:
        """``file:line``; "" where none is known."""
        wrote = finding.writer.place if finding.writer is not None else None
        stood = self.stood if finding is self.first_error else None
        return next((one for one in (finding.source, wrote, stood) if one and file_and_line(one)), "")


def of_verdict(verdict: Verdict, name: str, verb: str, file: str | None) -> Judged:
    """Return what CI is told of a verdict."""
    return Judged(
        name, verb, file, State(verdict.exit_status), printable(text.headline(verdict)), text.render(verdict), verdict.status.value,
        verdict.findings, verdict.source_texts, tuple(printable(text.diagnostic_words(one)) for one in verdict.diagnostics), _stood(verdict),
    )  # fmt: skip


def of_file(file: Linted | Refused) -> Judged:
    """Return what CI is told of a file that was linted, or could not be."""
    name = str(file.path)
    if isinstance(file, Refused):
        return unusable(name, "lint", name, file.why)
    lines = list(lines_of(as_blocks([file])))
    state = State.FAILED if file.has_error else State.PASSED
    remarks = tuple(map(printable, file.left_out))
    return Judged(name, "lint", name, state, lines[0], "\n".join(lines) + "\n", findings=file.findings, remarks=remarks)


def unusable(name: str, verb: str, file: str | None, why: str) -> Judged:
    """Return what CI is told of what could not be judged at all."""
    said = printable(" ".join(why.split("\n")))
    return Judged(name, verb, file, State.UNKNOWN, said, f"{said}\n")


def lines(judged: Judged, finding: Finding) -> list[str]:
    """Return a finding line by line, safe to print: what is wrong, then each of its fields with a name."""
    shown = [printable(title(finding))]
    before = ""
    for label, said in text.fields(finding):
        before = label or before
        shown.append(f"{before}: {printable(said)}")
    place = judged.place(finding)
    if place is not None and not place.is_cause:
        shown.append(printable(f"RIP: {place.file}:{place.line}"))
    return shown


def fingerprint(judged: Judged, finding: Finding | None, place: SourcePlace | None) -> str:
    """Return the same word for the same mistake in another build: no address is part of it. None: what no finding explains."""
    entry = finding.entry if finding is not None else None
    rule = finding.rule if finding is not None else judged.verdict
    parts = (judged.name, rule, place.file if place else "", entry_name(entry) if entry else "")
    return hashlib.sha256("\0".join(parts).encode(errors="backslashreplace")).hexdigest()[:32]


def below(root: str, file: str) -> str:
    """Return the name of a file from ``root`` on, if it lies below that; else as it is."""
    if not root or not os.path.isabs(file):
        return file
    named = os.path.relpath(os.path.normpath(file), root)
    return file if named.split(os.sep)[0] == os.pardir else named


def _stood(verdict: Verdict) -> str | None:
    seen, foreseen = verdict.observation, verdict.prediction
    for place in seen.places if seen is not None else ():
        if place.name == "RIP":
            return place.source
    return foreseen.place.source if foreseen is not None and foreseen.place is not None else None
