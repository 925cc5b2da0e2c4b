"""Findings on one entry, made one: the first keeps the word, the others stand with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding, Severity


def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings in their order, those that say less of an entry beside (``also``) the first that is about it.

    A rule says less where another has found an error and it declares to yield (``Rule.yields``).
    """
    kept: list[Finding] = []
    for finding in findings:
        at = next((n for n, one in enumerate(kept) if _says_less(finding, one)), None)
        if at is None:
            kept.append(finding)
        else:
            kept[at] = _with(kept[at], finding)
    return tuple(kept)


def _says_less(finding: Finding, than: Finding) -> bool:
    if finding.entry is None or than.entry is None or finding.entry.phys != than.entry.phys:
        return False
    return finding.rule == than.rule or (BY_ID[finding.rule].yields and than.severity is Severity.ERROR)


def _with(first: Finding, other: Finding) -> Finding:
    mends = other.mends if other.rule == first.rule else ()
    return replace(first, also=(*first.also, other), mends=tuple(dict.fromkeys((*first.mends, *mends))))
