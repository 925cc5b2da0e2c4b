"""The boots of one capture: which of them decides, and what each of several came to.

As with logs the worst counts: the last boot that died; if none did, the last that came to its switch and is not
well. Healthy needs all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.input.capture.records import Boot
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.console import dies_at, read_console
from cr3scope.input.logs.log_report import LogReport
from cr3scope.message import Message, message
from cr3scope.verdict.case import Case, Circumstance
from cr3scope.verdict.gave_up import BEFORE, BEYOND, SCREEN
from cr3scope.verdict.status import status_of
from cr3scope.verdict.types import BootOutcome, Status
from cr3scope.x86.mov_cr3 import NO_FLUSH

_MOST_UNTRACED = 4
_DIED = frozenset({Status.FAULTED, Status.HUNG, Status.WILL_FAULT})


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one boot came to; ``number`` counts from 0. ``has_ends``: whether its trace would tell that it came to its switch."""

    number: int
    boot: Boot
    case: Case
    status: Status
    has_ends: bool

    @property
    def has_died(self) -> bool:
        return self.status in _DIED and self.tells

    @property
    def tells(self) -> bool:
        return _tells(self.boot) or self.gave_up

    @property
    def gave_up(self) -> bool:
        return Circumstance.GAVE_UP in self.case.circumstances


def judge(boots: Sequence[Boot], case_of: Callable[[int, int], Case], began_again: bool = False, has_ends: bool = True) -> Case:
    """Return the case of the boot that decides, with a line for each of several. ``case_of`` makes one: of the boot's
    number, and of how often the machine restarted after its switch. ``began_again``: after the last of them, too.
    ``has_ends``: False of photos, which leave the ends of sections out.
    """
    restarts = sum(map(_is_restarted, boots if began_again else boots[:-1]))
    if len(boots) == 1:
        case = case_of(0, restarts)
        return replace(case, boots=_told([_Outcome(0, boots[0], case, status_of(case), has_ends)]))
    numbers = _within_budget(boots)
    cases = ((number, case_of(number, 0)) for number in numbers)
    outcomes = [_Outcome(number, boots[number], case, status_of(case), has_ends) for number, case in cases]
    chosen = decisive(outcomes)
    case = case_of(chosen.number, restarts) if restarts else chosen.case
    is_well = len(outcomes) == len(boots) and all(one.status is Status.HEALTHY for one in outcomes if one is not chosen)
    if not is_well:
        case = replace(case, circumstances=case.circumstances | {Circumstance.OTHER_BOOT})
    if case.observation is not None and case.observation.boots == 1:
        case = replace(case, observation=replace(case.observation, boots=len(boots)))
    lines = tuple(map(Diagnostic, _lines(len(boots), outcomes, chosen)))
    said = (*lines, *case.diagnostics) if chosen.status is Status.HEALTHY else (*case.diagnostics, *lines)
    return replace(case, diagnostics=said, boots=_told(outcomes))


def decisive(outcomes: Sequence[_Outcome]) -> _Outcome:
    """Return the last boot that died; else the last one that is not well, of those that came to their switch or say
    how it went; else the last of these.
    """
    died = [one for one in outcomes if one.has_died]
    telling = [one for one in outcomes if one.tells]
    unwell = [one for one in telling if one.status is not Status.HEALTHY]
    return (died or unwell or telling or list(outcomes))[-1]


def with_untraced(case: Case, boots: Sequence[Boot], before: bytes) -> Case:
    """Return the case with what is said of boots without a trace that died behind one of these, or ``before`` them."""
    dead = [(number, read_console(boot.beyond)) for number, boot in enumerate(boots, 1) if dies_at(boot.beyond)]
    words = [message(BEYOND, number=number, words=_last_words(said)) for number, said in dead]
    if dies_at(before):
        words.insert(0, message(BEFORE, words=_last_words(read_console(before))))
    if not words:
        return case
    told = map(Diagnostic, words[:_MOST_UNTRACED])
    return replace(case, circumstances=case.circumstances | {Circumstance.OTHER_BOOT}, diagnostics=(*told, *case.diagnostics))


def _last_words(said: LogReport) -> str:
    return SCREEN if said.panic is None else said.panic


def last_telling(boots: Sequence[Boot]) -> Boot | None:
    """Return the last boot that came to its switch, else the last that says how it went, else the last; None of none."""
    switched = [boot for boot in boots if boot.closed]
    telling = [boot for boot in boots if _tells(boot) or (boot.plan and "new" in boot.dumps)]
    return next(reversed(switched or telling or list(boots)), None)


def planned_cr3(boot: Boot) -> int | None:
    """Return the CR3 of the switch; None if the boot does not tell it."""
    planned = boot.cpus.get("handoff")
    return planned.registers.get("cr3") if planned else None


def whose(log: LogReport, boots: Sequence[Boot]) -> int:
    """Return the number of the boot of whose death a log tells, as far as can be known: the last one that did not come
    to its summary, if there are several under the CR3 that the log names.
    """
    numbers = list(range(len(boots)))
    silent = [number for number in numbers if boots[number].summary is None]
    alike = [number for number in silent if _is_under(log, boots[number])]
    return (alike or silent or numbers)[-1]


def _is_under(log: LogReport, boot: Boot) -> bool:
    planned = planned_cr3(boot)
    return log.switch is not None and planned is not None and log.switch.cr3 == planned & ~NO_FLUSH


def _tells(boot: Boot) -> bool:
    """Whether a boot came to its switch, or says how it went.

    Firmware without a shell boots once more what came back to it: a boot that only began does not hide one that
    says why it gave up.
    """
    return bool(boot.closed or boot.errors or boot.faults)


def _is_restarted(boot: Boot) -> bool:
    """Whether the machine switched, was not heard of again, and began anew."""
    return bool(boot.closed) and not boot.complete and not boot.errors


def _within_budget(boots: Sequence[Boot]) -> list[int]:
    """The numbers of the boots that are judged: those that say that they died, then the last ones."""
    if len(boots) <= limits.CAPTURE_JUDGED_BOOTS:
        return list(range(len(boots)))
    said = [number for number, boot in enumerate(boots) if boot.faults or boot.errors or dies_at(boot.console)]
    wanted = dict.fromkeys([*reversed(said), *reversed(range(len(boots)))])
    return sorted(list(wanted)[: limits.CAPTURE_JUDGED_BOOTS])


def _lines(count: int, outcomes: Sequence[_Outcome], chosen: _Outcome) -> Iterator[Message]:
    """A line for each boot; neighbours that came to the same have one together. What forbids a healthy verdict comes first."""
    rows = [list(row) for _, row in groupby(outcomes, key=lambda one: _words(one))]
    if chosen.status is Status.HEALTHY:
        rows.sort(key=lambda row: row[0].status is Status.HEALTHY)
    else:
        words = "of {count} boots that the capture tells of, this is number {number}"
        yield message(words, count=count, number=chosen.number + 1)
    if len(outcomes) < count:
        words = "{left_out} boots were not judged: of one capture {most} are, those that say why they died and the last"
        yield message(words, left_out=count - len(outcomes), most=limits.CAPTURE_JUDGED_BOOTS)
    for row in rows:
        yield _line(count, row)


def _line(count: int, row: Sequence[_Outcome]) -> Message:
    first, last = row[0].number + 1, row[-1].number + 1
    came_to = _words(row[0])
    if first == last:
        return message("boot {number} of {count}: {came_to}", number=first, count=count, came_to=came_to)
    words = "boots {number} to {last} of {count}: {came_to}"
    return message(words, number=first, last=last, count=count, came_to=came_to)


def _told(outcomes: Sequence[_Outcome]) -> tuple[BootOutcome, ...]:
    rules = (next((finding.rule for finding in one.case.findings), None) for one in outcomes)
    return tuple(
        BootOutcome(one.number + 1, one.status, rule, _words(one)) for one, rule in zip(outcomes, rules, strict=True)
    )


def _words(one: _Outcome) -> str:
    gave_up = _gave_up(one.boot)
    if gave_up:
        return f"the loader gave up ({gave_up})"
    if one.has_ends and not one.tells:
        return "it ends before its switch"
    return one.status.value.replace("-", " ")


def _gave_up(boot: Boot) -> str:
    return boot.errors[-1][0] if boot.errors else ""
