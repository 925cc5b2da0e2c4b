"""What is to be said, before it is words: a template and typed facts; `render/` alone makes a sentence of them.

A template is written in the rule that finds something, as `"the jump goes to {virt}"`; what stands in braces is the
name of a fact, and the type of the fact decides how it is shown and how it stands in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, field
from enum import Enum
from typing import Any, ClassVar, Protocol, Union

from cr3scope.dataclass import dataclass


class Hex(int):
    """A number that is shown in hexadecimal: an address, an entry, the value of a register."""


class Vector(int):
    """The number of an exception, which is shown by its name."""


class Record(Protocol):
    """Any dataclass: an entry, a fault, a message."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Fact = Union[int, str, bytes, None, Enum, Record, tuple["Fact", ...]]


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses from ``first`` to ``last``, inclusive; ``name``: what lies there, "" where nobody said."""

    first: int
    last: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """What somebody made, by name, and the ``file:line`` that asked for it; None where that is not known."""

    name: str
    source: str | None


@dataclass(frozen=True, slots=True)
class Some:
    """Several facts of one kind, of which at most ``most`` are shown, and of the rest how many they are.

    ``others``: how many there are beside ``items``.
    """

    items: tuple[Fact, ...]
    most: int
    others: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to say: ``template`` names the ``facts`` that belong into it. Without facts it is the text itself."""

    template: str
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens, as one fact: what is ``said`` of it names facts of its own."""

    said: Message


def message(template: str, **facts: Fact) -> Message:
    """Return what is to be said of some facts."""
    return Message(template, facts)
