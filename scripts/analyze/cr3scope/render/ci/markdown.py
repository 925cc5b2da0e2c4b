"""Results as Markdown, for issues, comments and the summary of a job.

Whatever a guest or a file chose stands in code, from which it cannot break out: no link, picture, mention or HTML is made of it. The same result
is the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, takewhile

from cr3scope import limits
from cr3scope.diagnose.finding import Finding
from cr3scope.images.source_text import cut
from cr3scope.render import text
from cr3scope.render.ci.judged import Judged, State
from cr3scope.render.finding import title
from cr3scope.text import printable

# Words of which no renderer makes anything else, brackets apart: no link, mention, reference to an issue, emphasis.
_PLAIN = re.compile(r"(?:[A-Za-z0-9 .,;:()\[\]=+/'-]|#[A-Z]{2})*")
_LINK = re.compile(r"://|www\.|[A-Za-z]{2}-[0-9]", re.IGNORECASE)
_BACKTICKS = re.compile("`+")
_BRACKETS = str.maketrans({"[": r"\[", "]": r"\]"})
_STATES = {State.PASSED: "passed", State.FAILED: "failed", State.UNKNOWN: "could not be judged"}


def render(results: Sequence[Judged], root: str = "") -> str:
    """Return the whole text, with a final newline: what is wrong comes first, and what is too long says so."""
    ordered = sorted(results, key=lambda one: one.state is State.PASSED)
    share = max(limits.MARKDOWN_CHARACTERS // max(len(ordered), 1), limits.ANNOTATION_CHARACTERS)
    shown: list[str] = []
    for judged in ordered:
        shown.append("\n".join(_one(judged, root, share)) + "\n")
        if sum(map(len, shown)) > limits.MARKDOWN_CHARACTERS and len(shown) > 1:
            shown[-1:] = [f"{len(ordered) - len(shown) + 1} more are left out\n"]
            break
    return "\n".join(shown)


def code(said: str) -> str:
    """Return words as code within a line, whatever backticks they hold."""
    shown = printable(cut(said, limits.ANNOTATION_CHARACTERS)) or " "
    fence = "`" * (_longest(shown) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def block(said: str) -> str:
    """Return a text of printable lines as a block of code."""
    fence = "`" * max(_longest(said) + 1, 3)
    return f"{fence}text\n{said.rstrip()}\n{fence}"


def _words(said: str) -> str:
    """Own words as they are, all others as code."""
    said = cut(said, limits.ANNOTATION_CHARACTERS)
    return said.translate(_BRACKETS) if _PLAIN.fullmatch(said) and not _LINK.search(said) else code(said)


def _longest(said: str) -> int:
    return max((len(found) for found in _BACKTICKS.findall(said)), default=0)


def _one(judged: Judged, root: str, most: int) -> Iterator[str]:
    yield f"### cr3scope {judged.verb}: {_words(judged.headline)}"
    yield ""
    yield f"{code(judged.name)} {_STATES[judged.state]}"
    report = judged.report[: most // 2]
    found = [list(_finding(number, judged, finding, root)) for number, finding in enumerate(judged.findings, 1)]
    listed = list(takewhile(lambda up_to: up_to < most // 2, accumulate(sum(map(len, lines)) for lines in found)))
    kept = found[: max(len(listed), 1)]
    if kept:
        yield ""
        yield from chain.from_iterable(kept)
    if len(kept) < len(found):
        yield f"\n{len(found) - len(kept)} more findings are left out"
    yield from ("", "<details><summary>The whole report</summary>", "", block(report))
    if len(report) < len(judged.report):
        yield f"\n{len(judged.report) - len(report)} more characters are left out"
    yield from ("", "</details>")


def _finding(number: int, judged: Judged, finding: Finding, root: str) -> Iterator[str]:
    yield f"{number}. **{finding.severity.value}** {_words(printable(title(finding)))} ({code(finding.rule)})"
    place = judged.place(finding, root)
    if place is not None:
        source = judged.source_text(finding)
        yield f"   - {'source' if place.is_cause else 'RIP'}: {code(f'{place.file}:{place.line}')}{f' {code(source)}' if source else ''}"
    before = ""
    for label, said in text.fields(finding):
        before = label or before
        if label != "source":
            yield f"   - {before}: {_words(printable(said))}"
