"""The one place where a verdict is made: whatever the evidence, it comes here as a case."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.verdict.case import Case
from cr3scope.verdict.source_texts import TextSource, source_texts
from cr3scope.verdict.status import status_of
from cr3scope.verdict.types import Verdict


def assemble(case: Case, texts: TextSource | None = None) -> Verdict:
    """Return the verdict on a case, with the text of the source lines in it as far as ``texts`` knows them."""
    verdict = Verdict(
        status_of(case), case.findings, case.prediction, case.observation, case.agreement, case.diagnostics,
        walk=case.walk, mended=case.mended, boots=case.boots, picture=case.picture,
    )  # fmt: skip
    if texts is None:
        return verdict
    found, notes = source_texts(verdict, texts)
    return replace(verdict, source_texts=found, diagnostics=(*verdict.diagnostics, *notes))
