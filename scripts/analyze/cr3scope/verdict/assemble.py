"""The one place where a verdict is made: whatever the evidence, it comes here as a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cr3scope.diagnose.finding import Finding
from cr3scope.images.source_text import SourceText
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.verdict.case import Case
from cr3scope.verdict.source_texts import TextSource, source_texts
from cr3scope.verdict.status import status_of
from cr3scope.verdict.types import Branch, Shaping, Verdict


def assemble(case: Case, texts: TextSource | None = None) -> Verdict:
    """Return the verdict on a case, with the text of the source lines in it as far as ``texts`` knows them."""
    verdict = Verdict(
        status_of(case), case.findings, case.prediction, case.observation, case.agreement, case.diagnostics,
        walk=case.walk, mended=case.mended, boots=case.boots, picture=case.picture,
        rehearsal=case.rehearsal,
    )  # fmt: skip
    if texts is None:
        return verdict
    found, notes = source_texts(verdict, texts)
    return replace(verdict, source_texts=found, diagnostics=(*verdict.diagnostics, *notes))


def with_writers(
    verdict: Verdict, findings: Sequence[Finding], path: Sequence[Branch], shaped: Sequence[Shaping], texts: Mapping[str, SourceText]
) -> Verdict:
    """Return the verdict with what was kept while the guest ran: who wrote what ``findings``, its own, blame, and its way.

    ``texts``: of source lines, beside its own. Its status is what it was: nobody's name changes what was seen.
    """
    return replace(
        verdict, findings=tuple(findings), path=tuple(path), shaped=tuple(shaped), source_texts={**texts, **verdict.source_texts}
    )


def with_note(verdict: Verdict, note: Diagnostic) -> Verdict:
    """Return the verdict with one more thing to know of it, which does not change it."""
    return replace(verdict, diagnostics=(*verdict.diagnostics, note))
