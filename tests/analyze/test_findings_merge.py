"""Findings on one entry are one: what says less stands with what says more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cr3scope.diagnose import merge
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.merge import merged
from cr3scope.message import Message
from cr3scope.model.changes import Mend, Page
from cr3scope.render import json as json_form
from cr3scope.render import text
from cr3scope.verdict.assemble import assemble
from cr3scope.verdict.case import Case
from cr3scope.x86.access import EntryRef

ENTRY, ANOTHER = EntryRef(2, 0, 0x3000, 0x4002), EntryRef(2, 1, 0x3008, 0)
ERROR, WARNING = Severity.ERROR, Severity.WARNING


def finding(rule: str, severity: Severity = ERROR, entry: EntryRef | None = ENTRY, page: int = 0) -> Finding:
    mends = (Mend(page=Page(page, page, "r--")),) if page else ()
    return Finding(rule, severity, Message(f"{rule} {page:x}"), (), Message("mend"), mends, entry)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (finding("code-unmapped", page=0x1000), finding("code-unmapped", page=0x5000)),
        (finding("reserved-bits"), finding("access-fault")),
        (finding("smep-smap-user-bit"), finding("rights-stronger", WARNING)),
    ],
)
def test_what_says_less_of_the_same_entry_stands_beside(first: Finding, second: Finding) -> None:
    (one,) = merged((first, second))
    assert (one.rule, one.title, one.also) == (first.rule, first.title, (second,))


@pytest.mark.parametrize(
    "second",
    [
        finding("idt-unmapped"),  # another error is another cause
        finding("code-unmapped", entry=ANOTHER),
        finding("code-unmapped", entry=None),
    ],
)
def test_what_is_another_cause_stays_apart(second: Finding) -> None:
    first = finding("code-unmapped")
    assert merged((first, second)) == (first, second)
    assert merged((second, first)) == (second, first)


def test_findings_on_as_many_entries_are_not_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    says_less = merge._says_less
    monkeypatch.setattr(merge, "_says_less", lambda one, than: compared.append(1) or says_less(one, than))  # type: ignore[func-returns-value]
    found = [finding("code-unmapped", entry=EntryRef(1, n, 0x3000 + 8 * n, 0)) for n in range(300)]
    assert len(merged(found + found[:1])) == len(found)
    assert len(compared) == 1


def test_what_yields_does_so_to_an_error_alone() -> None:
    weak = finding("rights-stronger", WARNING)
    assert len(merged((weak, finding("nx-leaf-code")))) == 2
    assert len(merged((finding("nx-leaf-code", WARNING), weak))) == 2


def test_mends_of_one_rule_are_told_together_those_of_another_are_not() -> None:
    first, second = finding("code-unmapped", page=0x1000), finding("code-unmapped", page=0x2000)
    other = replace(finding("rights-stronger", WARNING), mends=(Mend(page=Page(0x7000, 0x7000, "r--")),))
    (one,) = merged((first, second, second, other))
    assert one.mends == (*first.mends, *second.mends)


def test_each_form_of_the_verdict_tells_what_else_was_found_once() -> None:
    first, second = finding("code-unmapped", page=0x1000), finding("code-unmapped", page=0x2000)
    other = finding("rights-stronger", WARNING)
    verdict = assemble(Case(merged((first, second, second, other))))
    lines = text.render(verdict).splitlines()
    assert [line for line in lines if line.startswith("   also")] == [
        "   also    code-unmapped 2000", "   also    rights-stronger 0 [rights-stronger]"
    ]  # fmt: skip
    assert "map 0x1000..0x2fff to 0x1000 (r--)" in "\n".join(lines)
    (found,) = json_form.as_dict(verdict)["findings"]  # type: ignore[misc]
    assert [each["rule"] for each in found["also"]] == ["code-unmapped", "code-unmapped", "rights-stronger"]
