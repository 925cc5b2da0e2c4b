"""A prediction in words: the verdict first, then its reasons."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.model.code_prediction import if_page_faulted
from cr3scope.diagnose.finding import Finding
from cr3scope.model.machine import Chain
from cr3scope.render import message, role
from cr3scope.render.code_steps import chain_words, steps, survives, tables_words
from cr3scope.render.finding import fix, proof, title
from cr3scope.render.message import raised
from cr3scope.render.source_line import as_text
from cr3scope.render.table import WIDTH
from cr3scope.text import printable
from cr3scope.verdict.stopped import StoppedVerdict
from cr3scope.verdict.types import Verdict
from cr3scope.x86.names import entry_words

_TEXT_INDENT = " " * len("  source ")
_MENDED = "once that is mended:"


def headline(stopped: StoppedVerdict) -> Iterator[str]:
    """Yield the verdict, and the rule that names the cause."""
    yield _answer(stopped)
    for finding in stopped.loud[:1]:
        yield _rule(finding)


def _answer(stopped: StoppedVerdict) -> str:
    now, seen = stopped.now, stopped.seen
    which = tables_words(now, seen)
    if seen.refused is not None and seen.fault is not None:
        return f"verdict: faults at the {role.text(seen.refused.role)}: {raised(seen.fault)} ({which})"
    planned = stopped.verdict.prediction
    if planned is not None and planned.first is not None:
        return f"verdict: faults at: {message.text(planned.step)}, as the trace's plan tells: {raised(planned.first)} ({which})"
    return f"verdict: {survives(seen, f' ({which})')}"


def report(stopped: StoppedVerdict) -> Iterator[str]:
    """Yield the verdict, the entry and its mend; the way there, and what it comes to; what would break next."""
    yield from headline(stopped)
    seen, verdict = stopped.seen, stopped.verdict
    obstacles = () if stopped.is_told else stopped.coming.obstacles
    loud = stopped.loud if stopped.is_told else ()
    for finding in loud[:1]:
        yield from _told(finding, verdict)
    for one in obstacles[:1]:
        yield from _about(one.finding)
    yield from steps(seen)
    chain = seen.chain
    if chain is None and verdict.prediction is not None and verdict.prediction.first is not None:
        chain = Chain(verdict.prediction.ends, verdict.prediction.chain)
    if chain is None:
        chain = if_page_faulted(stopped.now, seen)
        yield "if it page-faulted nevertheless:"
    yield from chain_words(chain)
    for one in obstacles[1:]:
        yield f"{_MENDED} faults at the {role.text(one.role)}: {raised(one.fault)}"
        yield _rule(one.finding)
        yield from _about(one.finding)
    for finding in loud[1:]:
        yield _MENDED if finding.step is not None else "besides:"
        yield _rule(finding)
        yield from _told(finding, verdict)
    for words in verdict.diagnostics if stopped.is_told else ():
        yield f"note: {printable(message.plain(words.message))}"
    if verdict.mended is not None and stopped.coming.free is not None:
        yield f"{_MENDED} {survives(stopped.coming.free)}"


def _rule(finding: Finding) -> str:
    return f"rule: {finding.rule}: {printable(title(finding))}"


def _told(finding: Finding, told: Verdict) -> Iterator[str]:
    yield from _about(finding, told)
    yield from (f"  proof  {printable(line)}" for line in proof(finding))


def _about(finding: Finding, told: Verdict | None = None) -> Iterator[str]:
    if finding.entry is not None:
        yield f"  entry  {entry_words(finding.entry)}"
    if finding.source is not None:
        yield f"  source {printable(finding.source)}"
        text = told.source_texts.get(finding.source) if told else None
        if text is not None:
            yield _TEXT_INDENT + as_text(text.number, text.text, WIDTH - len(_TEXT_INDENT))
    yield f"  mend   {printable(fix(finding))}"
