"""From refused accesses to findings: each strike goes to one rule, strikes of one cause together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.model.mend_words import mend_words
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86 import exceptions
from cr3scope.x86.access import AccessKind, EntryRef
from cr3scope.x86.entry import PAGE_BYTES, PRESENT, is_leaf
from cr3scope.x86.names import covered, entry_name, entry_words, range_words

_MAX_LISTED = 6
_DENIED = {
    AccessKind.FETCH: "execution of",
    AccessKind.WRITE: "writing to",
    AccessKind.READ: "reading",
}
_LETTER = {AccessKind.FETCH: "x", AccessKind.WRITE: "w", AccessKind.READ: "r"}

Key = tuple[str, int, str]


@dataclass(slots=True)
class _Group:
    rule: Rule
    claim: Claim
    strikes: list[Strike]


@dataclass(frozen=True, slots=True)
class Cause:
    """A finding, and the first strike that it is about. ``is_elsewhere``: no edit of the refusing entry mends it."""

    finding: Finding
    first: Strike
    is_elsewhere: bool


def compose(context: Context, rules: Sequence[Rule], strikes: Iterable[Strike]) -> list[Finding]:
    """Return one finding for each cause, in the order of its first strike."""
    return [cause.finding for cause in causes(context, rules, strikes)]


def causes(context: Context, rules: Sequence[Rule], strikes: Iterable[Strike]) -> list[Cause]:
    """Return each cause in the order of its first strike."""
    groups: dict[Key, _Group] = {}
    blamed: set[tuple[int, Reason]] = set()  # entries that the plan or an exception met
    for strike in strikes:
        cause = (strike.culprit.phys, strike.reason) if strike.culprit else None
        if strike.target is Target.RANGE and cause in blamed:
            continue
        for rule in rules:
            claim = rule.claim(context, strike)
            if claim is None:
                continue
            key = (rule.id, 0, "") if claim.stands_alone else _key(context, rule, strike)
            group = groups.setdefault(key, _Group(rule, claim, []))
            group.strikes.append(strike)
            if cause and strike.target is not Target.RANGE and claim.severity is not Severity.NOTE:
                blamed.add(cause)
            break
    return [
        Cause(_finding(context, group), group.strikes[0], group.claim.stands_alone)
        for group in groups.values()
    ]


def _key(context: Context, rule: Rule, strike: Strike) -> Key:
    """Upper-level entries that deny the same right share a cause; leaves do if one thing owns them."""
    entry = strike.culprit
    if entry is not None and not context.is_told:  # nobody knows what belongs together but one entry, or one table of pages
        return rule.id, entry.level, hex(entry.phys & -PAGE_BYTES if entry.level == 1 else entry.phys)
    if entry is not None and _points_to_table(entry):
        return rule.id, entry.level, ""
    named = context.intent.at(strike.virt)
    return rule.id, entry.level if entry else 0, named.name if named else strike.target.value


def _points_to_table(entry: EntryRef) -> bool:
    return bool(entry.value & PRESENT) and not is_leaf(entry.value, entry.level)


def _finding(context: Context, group: _Group) -> Finding:
    rule, first = group.rule, group.strikes[0]
    blamed = group.claim.entry or first.culprit
    reach = covered(blamed, first.virt) if blamed else (first.virt, first.virt)
    told = [] if group.claim.stands_alone else group.strikes
    mends = mend_words([strike.mend for strike in told if strike.mend])
    fix = f"{_listed(mends)}. {rule.fix}" if mends else rule.fix
    return Finding(
        rule=rule.id,
        severity=group.claim.severity or rule.severity,
        title=group.claim.title,
        detail="\n".join(_detail(context, group)),
        fix=fix,
        entry=blamed,
        range=reach,
        source=context.attribution.source(blamed, first.virt),
        step=first.step.step if first.step else None,
    )


def _detail(context: Context, group: _Group) -> Iterator[str]:
    first = group.strikes[0]
    if group.claim.detail:
        yield group.claim.detail
    if first.fault is not None and first.step is not None and context.is_told:
        fault = first.fault
        cr2 = "" if fault.cr2 is None else f", CR2={fault.cr2:#x}"
        rip = "" if fault.rip is None else f", RIP={fault.rip:#x}"
        raises = exceptions.describe(fault.vector, fault.error_code)
        yield f"step {first.step.step}, {first.step.name}: {raises}{cr2}{rip}"
    elif first.target is Target.RANGE:
        yield "no step of the plan touches it, but the trace asked for it"
    entries = list(dict.fromkeys(s.culprit for s in group.strikes if s.culprit))
    if entries:
        killed = _killed(context, entries[0], group.strikes)
        if killed:
            yield f"{_denies(first)} {_listed(killed)}"
    if first.culprit and _points_to_table(first.culprit):
        for entry in entries[1:_MAX_LISTED]:
            killed = _killed(context, entry, group.strikes)
            yield f"so does {entry_words(entry)}" + (f", for {_listed(killed)}" if killed else "")
    elif entries[1:]:
        yield f"the same holds for {_listed([entry_name(entry) for entry in entries[1:]])}"
    steps = dict.fromkeys(s.step.name for s in group.strikes[1:] if s.step and s.step != first.step)
    if steps:
        yield f"would strike again at {_listed(list(steps))}"


def _denies(strike: Strike) -> str:
    if strike.reason is Reason.NOT_PRESENT:
        return "leaves out"
    return f"forbids {_DENIED[strike.kind]}"


def _killed(context: Context, entry: EntryRef, strikes: Sequence[Strike]) -> list[str]:
    """Every named range below a guilty entry that needs what the entry denies."""
    words: dict[str, None] = {}
    for strike in strikes:
        if strike.culprit != entry:
            continue
        first, last = covered(entry, strike.virt)
        for named in context.intent.within(first, last):
            wanted = _LETTER[strike.kind] in (named.rights or "rwx")
            if wanted or strike.virt in named:
                shown = range_words(max(first, named.virt), min(last, named.last))
                words[f"{named.label} {shown}"] = None
    return list(words)


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(words[:_MAX_LISTED])
    rest = len(words) - _MAX_LISTED
    return f"{shown} and {rest} more" if rest > 0 else shown
