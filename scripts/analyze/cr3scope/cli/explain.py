"""``cr3scope explain [RULE]``: what a rule means, how it looks in a log, how to mend it."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cr3scope.cli.source_options import add_json_option, as_json, publish
from cr3scope.cli.streams import say
from cr3scope.diagnose.catalogue import BY_ID, RULES
from cr3scope.diagnose.rule import Rule
from cr3scope.render.rule_modes import modes_in_words
from cr3scope.render.table import WIDTH, Cell, Table
from cr3scope.render.wrapped import wrapped
from cr3scope.text import printable
from cr3scope.x86.mode import Mode

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

SCHEMA = "cr3scope.diagnose.catalogue/1"


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("explain", help="explain a rule; without one, list them")
    rule = parser.add_argument("rule", nargs="?", metavar="RULE", help="a rule's id, as in a verdict")
    setattr(rule, "completer", lambda **_: list(BY_ID))  # argcomplete's name for it
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one rule or the list; return 2 if there is no such rule."""
    if arguments.rule is None:
        ordered = sorted(RULES, key=lambda rule: rule.id)
        publish(as_json(_report(ordered)), [_list(ordered)], (), arguments.json)
        return 0
    rule = BY_ID.get(arguments.rule)
    if rule is None:
        close = difflib.get_close_matches(arguments.rule, BY_ID, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(close)}?" if close else "; `cr3scope explain` lists them"
        say(f"cr3scope: no rule {printable(arguments.rule)}{hint}")
        return 2
    publish(as_json(_report([rule])), _explain(rule), (), arguments.json)
    return 0


def _report(rules: Sequence[Rule]) -> dict[str, object]:
    """The plain values of ``cr3scope.diagnose.catalogue/1``."""
    fields = ("id", "title", "reason", "shows", "fix", "manual")
    return {
        "schema": SCHEMA,
        "rules": [
            {
                **{name: getattr(rule, name) for name in fields}, "severity": rule.severity.value,
                "modes": [mode.value for mode in Mode if mode in rule.modes],
            }  # fmt: skip
            for rule in rules
        ],
    }


def _list(ordered: Sequence[Rule]) -> Table:
    return Table(
        ("rule", "severity", "what it finds"),
        tuple(
            (Cell(rule.id, "bold"), Cell(rule.severity.value, rule.severity.value), Cell(rule.title))
            for rule in ordered
        ),
        bare=True,
    )


def _explain(rule: Rule) -> Iterator[str]:
    yield f"{rule.id} ({rule.severity.value}): {rule.title}"
    for heading, words in (
        ("Why", rule.reason),
        ("In a log", rule.shows),
        ("Mend", rule.fix),
        ("Modes", modes_in_words(rule)),
        ("Manual", rule.manual),
    ):
        yield ""
        yield from wrapped(words, WIDTH, f"{heading:<10}", " " * 10)
