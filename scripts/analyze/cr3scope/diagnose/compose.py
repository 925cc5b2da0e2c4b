"""From refused accesses to findings: each strike goes to one rule, strikes of one cause together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rule import Claim, Context, Rule, able, claims_nothing
from cr3scope.message import Fact, Message, Some, Span, message
from cr3scope.model.intent import Intent, Named
from cr3scope.model.strike import Strike, Target
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import AccessKind, EntryRef
from cr3scope.x86.entry import PAGE_BYTES, PRESENT
from cr3scope.x86.names import covered

_MAX_LISTED = 6
_MAX_KEPT = 256  # beyond, ranges are counted
_MAX_CAUSES = 64  # of one rule: the same mistake over and over
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
    counts: Counter[str] = Counter()  # of causes, by rule
    blamed: set[tuple[int, Reason]] = set()  # entries that the plan or an exception met
    asked = [rule for rule in able(rules, context) if rule.claim is not claims_nothing]
    for strike in strikes:
        cause = (strike.culprit.phys, strike.reason) if strike.culprit else None
        if strike.target is Target.RANGE and cause in blamed:
            continue
        for rule in asked:
            claim = rule.claim(context, strike)
            if claim is None:
                continue
            key = (rule.id, 0, "") if claim.stands_alone else _key(context, rule, strike)
            if key not in groups:
                counts[rule.id] += 1
                if counts[rule.id] > _MAX_CAUSES:
                    break
            group = groups.setdefault(key, _Group(rule, claim, []))
            group.strikes.append(strike)
            if cause and strike.target is not Target.RANGE and claim.severity is not Severity.NOTE:
                blamed.add(cause)
            break
    for rule_id, count in counts.items():
        if count > _MAX_CAUSES:
            context.intent.left_out[f"{count - _MAX_CAUSES} more causes of {rule_id}"] = None
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
    return bool(entry.value & PRESENT) and not entry.is_leaf


def _finding(context: Context, group: _Group) -> Finding:
    rule, first = group.rule, group.strikes[0]
    blamed = group.claim.entry or first.culprit
    reach = covered(blamed, first.virt) if blamed else (first.virt, first.virt)
    told = [] if group.claim.stands_alone else group.strikes
    return Finding(
        rule=rule.id,
        severity=group.claim.severity or rule.severity,
        title=group.claim.title,
        proof=tuple(_proof(context, group)),
        fix=Message(rule.fix),
        mends=tuple(dict.fromkeys(strike.mend for strike in told if strike.mend)),
        entry=blamed,
        range=reach,
        source=context.attribution.source(blamed, first.virt),
        step=first.step.step if first.step else None,
    )


def _proof(context: Context, group: _Group) -> Iterator[Message]:
    first = group.strikes[0]
    yield from group.claim.proof
    if first.fault is not None and first.step is not None and context.is_told:
        step = first.step
        yield message("step {step}, {access}: {raises}", step=step.step, access=step.name, raises=first.fault)
    elif first.fault is not None and first.role is not None:
        yield message("{access}: {raises}", access=first.role, raises=first.fault)
    elif first.target is Target.RANGE:
        yield Message("no step of the plan touches it, but the trace asked for it")
    entries = list(dict.fromkeys(s.culprit for s in group.strikes if s.culprit))
    if entries:
        denied = _denied(context, entries[0], group.strikes)
        if denied.items:
            yield message(f"{_denies(first)} {{denied}}", denied=denied)
    if first.culprit and _points_to_table(first.culprit):
        for number, entry in enumerate(entries[1:_MAX_LISTED], 2):
            denied = _denied(context, entry, group.strikes)
            words = f"so does {{entry_{number}:full}}" + (f", for {{denied_{number}}}" if denied.items else "")
            facts: dict[str, Fact] = {f"entry_{number}": entry, f"denied_{number}": denied}
            yield Message(words, facts)
    elif entries[1:]:
        yield message("the same holds for {entries}", entries=Some(tuple(entries[1:]), _MAX_LISTED))
    steps = dict.fromkeys(s.access for s in group.strikes[1:] if s.access and s.step != first.step)
    if steps:
        yield message("would strike again at {again}", again=Some(tuple(steps), _MAX_LISTED))


def _denies(strike: Strike) -> str:
    if strike.reason is Reason.NOT_PRESENT:
        return "leaves out"
    return f"forbids {_DENIED[strike.kind]}"


def _denied(context: Context, entry: EntryRef, strikes: Sequence[Strike]) -> Some:
    """Every named range below a guilty entry that needs what the entry denies."""
    found: dict[Span, None] = {}
    others = 0
    own = [strike for strike in strikes if strike.culprit == entry]
    for (first, last), struck in _by_reach(entry, own).items():
        wanted, more = _asked_below(context.intent, first, last, frozenset(_LETTER[strike.kind] for strike in struck))
        places = (strike.virt for strike in struck if strike.target is not Target.RANGE)  # these were asked for
        met = [_part(named, first, last) for virt in dict.fromkeys(places) for named in context.intent.within(virt, virt)]
        found.update(dict.fromkeys(sorted({*wanted, *met}, key=lambda span: span.first)))
        others += more
    return Some(tuple(found), _MAX_LISTED, others)


def _asked_below(intent: Intent, first: int, last: int, letters: frozenset[str]) -> tuple[tuple[Span, ...], int]:
    """The named parts of a range that need one of some rights, the first few, and how many others there are."""
    key = first, last, letters
    if key not in intent.asked_below:
        wanting = [named for named in intent.within(first, last) if not letters.isdisjoint(named.rights or "rwx")]
        parts = tuple(_part(named, first, last) for named in wanting[:_MAX_KEPT])
        intent.asked_below[key] = parts, max(len(wanting) - _MAX_KEPT, 0)
    return intent.asked_below[key]


def _part(named: Named, first: int, last: int) -> Span:
    return Span(max(first, named.virt), min(last, named.last), named.label)


def _by_reach(entry: EntryRef, strikes: Iterable[Strike]) -> dict[tuple[int, int], list[Strike]]:
    found: dict[tuple[int, int], list[Strike]] = {}
    for strike in strikes:
        found.setdefault(covered(entry, strike.virt), []).append(strike)
    return found
