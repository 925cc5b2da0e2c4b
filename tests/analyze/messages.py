"""What must hold of the messages of every finding."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator

from cr3scope.diagnose.finding import Finding
from cr3scope.message import Fact, Message
from cr3scope.render import finding as words


def slips(finding: Finding) -> list[str]:
    """Names that a template shows and has no fact for, facts that none shows, names with two values."""
    said = (finding.title, *finding.proof, finding.fix)
    found = [slip for each in said for slip in _of_message(each)]
    values: dict[str, Fact] = {}
    for name, fact in (pair for each in said for pair in _facts(each)):
        other = values.setdefault(name, fact)
        if (type(other), other) != (type(fact), fact):
            found.append(f"{name} is {other!r} and {fact!r}")
    if not found:
        assert words.title(finding) and all(words.proof(finding)) and json.dumps(words.facts(finding))
    return found


def _of_message(said: Message) -> Iterator[str]:
    shown = {name for _, name, _, _ in string.Formatter().parse(said.template) if name is not None}
    yield from (f"no fact {name}: {said.template}" for name in sorted(shown - said.facts.keys()))
    yield from (f"{name} is not shown: {said.template}" for name in sorted(said.facts.keys() - shown))
    for fact in said.facts.values():
        if isinstance(fact, Message):
            yield from _of_message(fact)


def _facts(said: Message) -> Iterator[tuple[str, Fact]]:
    for name, fact in said.facts.items():
        yield from _facts(fact) if isinstance(fact, Message) and fact.facts else [(name, fact)]
