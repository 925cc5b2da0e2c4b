"""What a Python fuzzer is: how it makes a case of a seed, and what the product may not do with one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random

from analyze.messages import slips

from cr3scope.diagnose.finding import Finding
from cr3scope.errors import UnusableInput
from cr3scope.render import html, text
from cr3scope.render import json as json_form
from cr3scope.verdict.types import Status, Verdict

# Names that the fuzzers put wherever a guest or a file may choose one: markup, terminal controls, what ends a line.
HOSTILE = ("<b7>x</b7>", '"><b7>', "\x1b[31mred", "a\rb\nc", "\x9b2J", "\u202eevil", "@c3s1 0 end", "%s%n{0}{{", "[bold]x[/]", "")
_MARKUP = re.compile(r"<\s*/?\s*b7\b", re.IGNORECASE)
_LETTERS = re.compile(r"[^\n -~\u00a0-\u1fff\u2010-\u2027\u2030-\u205e\u2190-\uffff]")


class Find(Exception):
    """The product did what it may not do."""


@dataclass(frozen=True)
class Target:
    """One fuzzer. ``make`` gives files by name and whatever ``check`` must know besides; both are of the seed alone."""

    name: str
    make: Callable[[Random], Case]
    check: Callable[[Case], None]
    parsers: tuple[str, ...]  # files and folders of the package whose lines it must reach; none if it tries a judgement


@dataclass(frozen=True)
class Case:
    """One input. ``meant``: what its maker knows of it."""

    data: bytes
    suffix: str
    meant: Mapping[str, object] = field(default_factory=dict)


def require(condition: object, what: str) -> None:
    """Raise Find unless the condition holds."""
    if not condition:
        raise Find(what)


def shown(words: str) -> str:
    """Return the text for a terminal; Find if a character of it could steer one."""
    odd = _LETTERS.search(words)
    require(odd is None, f"a control character for the terminal: {odd and odd[0]!r} in {words[max(odd.start() - 60, 0) if odd else 0:][:120]!r}")
    return words


def require_whole(findings: Iterable[Finding]) -> None:
    """Find unless the messages of findings have all their facts, each under a name of its own."""
    for finding in findings:
        found = slips(finding)
        require(not found, f"{finding.rule}: {'; '.join(found)}")


def all_forms(verdict: Verdict, with_page: bool) -> str:
    """Return what a terminal gets; Find if a form of the verdict carries what a guest put into it, or is no JSON."""
    require_whole(verdict.findings)
    words = shown(text.render(verdict))
    document = json_form.render(verdict)
    shown(document)
    require(json.loads(document)["verdict"] == verdict.status.value, "JSON says another verdict")
    if with_page:
        page = html.render(verdict)
        shown(page)
        require(not _MARKUP.search(page), "markup of a guest in the page")
    return words


def verdict_of(judge: Callable[[], Verdict], with_page: bool = False) -> tuple[Verdict | None, str]:
    """Return the verdict and its words; None and the one line where the input is refused."""
    try:
        verdict = judge()
        return verdict, all_forms(verdict, with_page)
    except UnusableInput as error:
        line = str(error)
        require(line.strip(), "a refusal without a word")
        return None, line


def is_silent(verdict: Verdict | None) -> bool:
    """Return whether the answer is healthy and nothing else is said."""
    return verdict is not None and verdict.status is Status.HEALTHY and not verdict.findings and not verdict.diagnostics
