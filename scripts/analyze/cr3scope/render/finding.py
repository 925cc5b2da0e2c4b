"""A finding in words and in JSON's values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum

from cr3scope.diagnose.finding import MOST_NAMED, Finding
from cr3scope.diagnose.writer import When, Writer
from cr3scope.input.writers.layout import Part
from cr3scope.message import Event, Fact, Hex, Message, Some, Span
from cr3scope.model.changes import Mend
from cr3scope.render import mend, message
from cr3scope.x86.access import EntryRef, Fault

_HEX_FIELDS = {EntryRef: {"phys", "value"}, Fault: {"cr2", "rip", "cr3", "rsp"}}


def title(finding: Finding) -> str:
    """Return what is wrong, in one line."""
    return message.text(finding.title)


def proof(finding: Finding) -> tuple[str, ...]:
    """Return how it is known, line by line."""
    return tuple(map(message.text, finding.proof))


def fix(finding: Finding) -> str:
    """Return what to change: the mends that were tried in the model, then what the rule advises."""
    mends, advice = mend.text(finding.mends), message.text(finding.fix)
    return f"{mends}. {advice}" if mends else advice


def writer(finding: Finding) -> Iterator[str]:
    """Yield who wrote last what the finding is about, what that replaced, when, and who had called it."""
    if finding.writer is None:
        return
    for found in (finding.writer, *finding.writer.others):
        yield from _wrote(found)


_PARTS = {Part.WHOLE: "", Part.LOW: "the lower 4 bytes", Part.HIGH: "the upper 4 bytes"}


def _wrote(found: Writer) -> Iterator[str]:
    what = ", ".join(words for words in (found.what, _PARTS[found.part]) if words)
    what = f"{what}: " if what else ""
    if found.lost:
        yield f"{what}no instruction of the guest: since {found.lost} left {found.new or 0:#x} there, a device has written, or the CPU itself as it" \
              " took an exception"
        return
    if found.rip is None:
        yield f"{what}no instruction of the guest has stored there: memory as it was at the start, or written by a device"
        return
    at = f"{found.rip:#x}"
    yield f"{what}{found.place if found.place == at else f'{found.place} ({at})'}{_changed(found)}{_when(found)}"
    if found.callers:
        yield f"called from {', '.join(found.callers[:MOST_NAMED])}"


def _changed(found: Writer) -> str:
    if found.new is None:
        return ""
    return f" wrote {found.new:#x}{'' if found.old is None else f' over {found.old:#x}'}"


def _when(found: Writer) -> str:
    if found.when is When.UNKNOWN:
        return ""
    at_most = "" if found.instructions is None else f"at most {found.instructions:,} instructions "
    return f", {at_most}{found.when.value}"


def also(finding: Finding) -> tuple[str, ...]:
    """Return what else was found of the entry, each thing once; with the rule where it is another one."""
    told = dict.fromkeys((title(other), other.rule) for other in finding.also)
    told.pop((title(finding), finding.rule), None)
    return tuple(words if rule == finding.rule else f"{words} [{rule}]" for words, rule in told)


def facts(finding: Finding) -> dict[str, object]:
    """Return the facts by their names, as JSON's values: addresses and values of entries as hex strings."""
    said = (finding.title, *finding.proof, finding.fix)
    return {name: _plain(fact) for each in said for name, fact in _facts(each)}


def plain(finding: Finding) -> dict[str, object]:
    """Return what JSON says of any finding, wherever it was made."""
    return {
        "rule": finding.rule, "severity": finding.severity.value, "title": title(finding), "detail": "\n".join(proof(finding)),
        "fix": fix(finding), "facts": facts(finding),
    }  # fmt: skip


def mends(finding: Finding) -> list[dict[str, object]]:
    """Return the mends that were tried in the model, as JSON's values."""
    return [each for one in finding.mends for each in _mend(one)]


def _facts(said: Message) -> Iterator[tuple[str, Fact]]:
    """With those of messages inside it."""
    for name, fact in said.facts.items():
        if isinstance(fact, Message) and fact.facts:
            yield from _facts(fact)
        else:
            yield name, fact


_NO_FACTS = ("legacy", "is_fetch", "in_long_mode")  # how an entry reads, how an error code does


def _plain(fact: Fact) -> object:
    if isinstance(fact, Hex):
        return f"{fact:#x}"
    if isinstance(fact, Enum):
        return fact.value
    if isinstance(fact, bytes):
        return fact.hex()
    if isinstance(fact, Message):
        return message.text(fact)
    if isinstance(fact, Event):
        return {name: _plain(each) for name, each in _facts(fact.said)} or message.text(fact.said)
    if isinstance(fact, Some):
        return _plain(fact.items)
    if isinstance(fact, tuple):
        return [_plain(each) for each in fact]
    if isinstance(fact, Span):
        span = [f"{fact.first:#x}", f"{fact.last:#x}"]
        return {"name": fact.name, "range": span} if fact.name else span
    if is_dataclass(fact):
        in_hex = _HEX_FIELDS.get(type(fact), set())
        values = {one.name: getattr(fact, one.name) for one in fields(fact) if one.name not in _NO_FACTS}
        return {name: _plain(Hex(value) if name in in_hex and value is not None else value)
                for name, value in values.items()}  # fmt: skip
    return fact


def _mend(one: Mend) -> Iterator[dict[str, object]]:
    for edit in one.edits:
        yield {"change": edit.change.value, "entry": _plain(edit.entry), "value": f"{edit.value:#x}"}
    if one.page is not None:
        page = one.page
        span = Span(page.virt, page.virt + page.size - 1)
        yield {"change": "map", "range": _plain(span), "phys": f"{page.frame:#x}", "rights": page.rights,
               "as_now": one.as_now, "goes_on": one.goes_on}
    if one.no_ram is not None:
        yield {"change": "correct-rsp", "phys": f"{one.no_ram:#x}"}
