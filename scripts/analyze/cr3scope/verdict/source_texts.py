"""The text of every source line that a verdict names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from cr3scope.images.source_text import SourceText
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.verdict.types import Verdict


class TextSource(Protocol):
    """Anything that has named source lines, and may know their text."""

    def text(self, source: str) -> SourceText | None:
        """Return the text of a line as this object has named it; None if it is not known."""

    def left_out(self) -> Iterable[str]:
        """Return what of the user's files was not read, and why."""


def source_texts(verdict: Verdict, symbols: TextSource) -> tuple[Mapping[str, SourceText], tuple[Diagnostic, ...]]:
    """Return the text of the verdict's lines, as far as ``symbols`` has told them and their files can be read.

    A file that is newer than what was built from it may have other lines, and one past a budget is not read: the notes say so.
    """
    texts = {}
    notes = {}
    for source in _sources(verdict):
        found = symbols.text(source)
        if found is not None:
            texts[source] = found
            if found.is_newer:
                words = f"{found.name}: changed since {found.built} was built: its lines may have moved"
                notes[found.name] = Diagnostic(words)
    return texts, (*notes.values(), *map(Diagnostic, symbols.left_out()))


def _sources(verdict: Verdict) -> Iterator[str]:
    """``file:line`` of findings, places and entries."""
    yield from (finding.source for finding in verdict.findings if finding.source)
    first = [finding.writer for finding in verdict.findings if finding.writer is not None]
    yield from (each.place for writer in first for each in (writer, *writer.others) if each.place)
    if verdict.observation is not None:
        yield from (place.source for place in verdict.observation.places if place.source)
    if verdict.prediction is not None and verdict.prediction.place is not None and verdict.prediction.place.source:
        yield verdict.prediction.place.source
    if verdict.walk is not None:
        yield from (level.source for level in verdict.walk.levels if level.source)
