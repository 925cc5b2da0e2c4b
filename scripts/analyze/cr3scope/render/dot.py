"""Graphs in the language of graphviz."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from cr3scope.text import printable

BLAMED = "#c22f2f"


def document(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a graph line by line, drawn from left to right."""
    yield f"digraph {quoted([title])} {{"
    yield f'  graph [rankdir=LR, label={quoted([title])}, fontname="monospace"];'
    yield '  node [shape=box, fontname="monospace", fontsize=10];'
    yield "  edge [arrowsize=0.6];"
    yield from (f"  {line}" for line in lines)
    yield "}"


def node(number: int, lines: Sequence[str], **attributes: str) -> str:
    """Return a box with some lines of text."""
    return f"n{number} [label={quoted(lines)}{_more(attributes)}];"


def edge(tail: int, head: int, **attributes: str) -> str:
    """Return an arrow from one box to another."""
    return f"n{tail} -> n{head} [{_more(attributes).removeprefix(', ')}];"


def _more(attributes: Mapping[str, str]) -> str:
    return "".join(f", {name}={quoted([value])}" for name, value in attributes.items())


def quoted(lines: Sequence[str]) -> str:
    """Return lines from anywhere as one string of the language, each aligned to the left if there are several; what looks like a
    character reference of HTML stays what it is."""
    ends = r"\l" if len(lines) > 1 else ""
    return '"' + "".join(printable(line).replace("&", "&amp;").replace("\\", r"\\").replace('"', r"\"") + ends for line in lines) + '"'
