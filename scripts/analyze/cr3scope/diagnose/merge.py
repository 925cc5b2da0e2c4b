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
    about: dict[int, list[int]] = {}  # an entry's address: which of them are about it
    for finding in findings:
        of_entry = [] if finding.entry is None else about.setdefault(finding.entry.phys, [])
        at = next((n for n in of_entry if _says_less(finding, kept[n])), None)
        if at is None:
            of_entry.append(len(kept))
            kept.append(finding)
        else:
            kept[at] = _with(kept[at], finding)
    return tuple(kept)


def _says_less(finding: Finding, than: Finding) -> bool:
    return finding.rule == than.rule or (BY_ID[finding.rule].yields and than.severity is Severity.ERROR)


def _with(first: Finding, other: Finding) -> Finding:
    mends = other.mends if other.rule == first.rule else ()
    return replace(first, also=(*first.also, other), mends=tuple(dict.fromkeys((*first.mends, *mends))))
