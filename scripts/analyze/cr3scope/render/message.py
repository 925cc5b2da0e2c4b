"""A message in words: the one place where facts become text."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from cr3scope.message import Event, Fact, Hex, Message, Origin, Some, Span, Vector
from cr3scope.model.role import Role
from cr3scope.render import role
from cr3scope.x86 import exceptions
from cr3scope.x86.access import EntryRef, Fault
from cr3scope.x86.names import entry_name, entry_words, range_words

_FULL = "full"  # of an entry: with its place and its value
_NAME = "name"  # of what somebody made: without the line that asked for it
_JOINTS = {"and": " and ", ";": "; "}  # of several: what stands between them, where no comma does


def text(message: Message) -> str:
    """Return a message in words, as the guest's names stand in it: whoever prints it makes it printable."""
    if not message.facts:
        return message.template
    return _FORMATTER.vformat(message.template, (), message.facts)


def plain(said: Message | str) -> str:
    """Return a message in words; words stay as they are."""
    return said if isinstance(said, str) else text(said)


def raised(fault: Fault) -> str:
    """Return an exception in words, with CR2 and RIP where they are known."""
    cr2 = "" if fault.cr2 is None else f", CR2={fault.cr2:#x}"
    rip = "" if fault.rip is None else f", RIP={fault.rip:#x}"
    return f"{exceptions.describe(fault.vector, fault.error_code, fault.is_fetch, fault.in_long_mode)}{cr2}{rip}"


def _span(span: Span, _spec: str) -> str:
    words = range_words(span.first, span.last)
    return f"{span.name} {words}" if span.name else words


def _some(some: Some, spec: str) -> str:
    shown = _each(some.items[: some.most], spec)
    rest = max(len(some.items) - some.most, 0) + some.others
    return f"{shown} and {rest} more" if rest > 0 else shown


def _origin(origin: Origin, spec: str) -> str:
    return origin.name if spec == _NAME or not origin.source else f"{origin.name} at {origin.source}"


def _each(facts: tuple[Fact, ...], spec: str) -> str:
    if spec in _JOINTS:
        return _JOINTS[spec].join(_fact(each, "") for each in facts)
    return ", ".join(_fact(each, spec) for each in facts)


def _entry(entry: EntryRef, spec: str) -> str:
    return entry_words(entry) if spec == _FULL else entry_name(entry)


_WORDS: Mapping[type, Callable[[Any, str], str]] = {
    Hex: lambda fact, spec: format(int(fact), spec or "#x"),
    Vector: lambda fact, _spec: exceptions.name(fact),
    int: lambda fact, spec: format(fact, spec),
    str: lambda fact, spec: format(fact, spec),
    bytes: lambda fact, _spec: str(fact.hex(" ")),
    type(None): lambda _fact, _spec: "unknown",
    tuple: _each,
    Some: _some,
    Span: _span,
    Origin: _origin,
    EntryRef: _entry,
    Fault: lambda fact, _spec: raised(fact),
    Message: lambda fact, _spec: text(fact),
    Event: lambda fact, _spec: text(fact.said),
    Role: lambda fact, _spec: role.text(fact),
}


def _fact(fact: Fact, spec: str) -> str:
    words = _WORDS.get(type(fact))
    if words is not None:
        return words(fact, spec)
    if isinstance(fact, Enum):
        return str(fact.value)
    from cr3scope.render.chain import WORDS  # most messages are of no log

    return WORDS[type(fact)](fact, spec)


class _Formatter(string.Formatter):
    def format_field(self, value: Fact, format_spec: str) -> str:
        """Return a fact as its type is shown."""
        return _fact(value, format_spec)


_FORMATTER = _Formatter()
