"""Results as GitHub's workflow commands: each finding is an annotation at its line of source.

A runner reads commands from standard output: a line that begins, behind blanks, with ``::NAME``, and ``##[NAME]`` anywhere in a line. What
stands in a command is escaped; all else that is printed may hold a guest's words, and stands where commands are off.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

from cr3scope import limits
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.render.ci import judged as words
from cr3scope.render.ci.judged import Judged, State
from cr3scope.text import printable

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_DATA = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_PROPERTY = str.maketrans({**_DATA, ":": "%3A", ",": "%2C"})
_MESSAGE = str.maketrans(_DATA)
_CUT = " .."


def render(results: Sequence[Judged], root: str = "") -> str:
    """Return one line for each finding, errors of a verdict with its headline; nothing of what is well."""
    return "".join(f"{line}\n" for judged in results for line in _annotations(judged, root))


def silenced(text: str) -> str:
    """Return a text between the lines that turn commands off and on again, by a word that nobody can guess."""
    if not text:
        return ""
    word = secrets.token_hex(16)
    return f"::stop-commands::{word}\n{text}::{word}::\n"


def _annotations(judged: Judged, root: str) -> Iterator[str]:
    if judged.state is not State.PASSED and not judged.has_error:
        yield _line("error", {"title": f"cr3scope: {judged.name}"}, [judged.headline, *judged.remarks])
    for finding in judged.findings:
        said = words.lines(judged, finding)
        if finding is judged.first_error and judged.headline != said[0]:
            said.insert(1, judged.headline)
        yield _line(_COMMANDS[finding.severity], _properties(judged, finding, root), said)


def _properties(judged: Judged, finding: Finding, root: str) -> dict[str, str]:
    place = judged.place(finding, root)
    where = {} if place is None else {"file": place.file, "line": str(place.line)}
    return {**where, "title": f"cr3scope: {finding.rule}"}


def _line(command: str, properties: dict[str, str], said: Sequence[str]) -> str:
    text = "\n".join(said)
    if len(text) > limits.ANNOTATION_CHARACTERS:
        text = text[: limits.ANNOTATION_CHARACTERS - len(_CUT)] + _CUT
    given = ",".join(f"{name}={printable(value).translate(_PROPERTY)}" for name, value in properties.items())
    return f"::{command} {given}::{text.translate(_MESSAGE)}"
