"""What would let the code come further: what is refused is mended in a model of the tables, again and again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile

from cr3scope.exceptions import PAGE_FAULT
from cr3scope.forecast.forecast import Forecast, judged, reach
from cr3scope.forecast.mended_cpu import MendedCpu, mended_cpu
from cr3scope.forecast.stopped_cpu import StoppedCpu
from cr3scope.forecast.switch import switch_at_pc
from cr3scope.paging.entry import PAGE_BYTES
from cr3scope.paging.walk import PageFault, walk
from cr3scope.predict.mend import FrameOf, Mender
from cr3scope.predict.names import covered, entry_name
from cr3scope.predict.overlay import Overlay
from cr3scope.predict.strike import Mend
from cr3scope.rules.mends import mend_words
from cr3scope.verdict import Fault, Finding

MOST_OBSTACLES = 4
_MOST_ROUNDS = 16
_MOST_PAGES = 512  # of one instruction
# Rules whose cause is not the entry that refuses: another bit of it would mend nothing.
_CAUSED_ELSEWHERE = ("la57-mismatch", "nx-without-nxe", "page-size-missing", "virt-address-in-entry")


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One cause, with what it does first. ``finding.fix`` names the change of the tables that mends it,
    where one is known."""

    step: str
    fault: Fault
    finding: Finding


@dataclass(slots=True)
class _Mended:
    """An obstacle with what was changed; ``goes_on``: its instruction needs more than was."""

    obstacle: Obstacle
    mends: list[Mend] = field(default_factory=list)
    goes_on: bool = False


class _NoIntent:
    """Nobody said what the code's addresses were meant to be."""

    def is_code(self, virt: int) -> bool | None:
        return None

    def rights_at(self, virt: int) -> str | None:
        return None

    def role_at(self, virt: int) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Ahead:
    """The causes on the way that was looked at, in the order in which they strike.

    ``free``: how it goes with all of them mended; None where no change of the tables is known for the
    last one, or where there are more.
    """

    obstacles: tuple[Obstacle, ...] = ()
    free: Forecast | None = None


def ahead(now: StoppedCpu, seen: Forecast) -> Ahead:
    """What would break next, and next; ``seen`` is the forecast with the tables as they are."""
    if seen.refused is None:
        return Ahead()
    mended = mended_cpu(now)
    mender = Mender(seen.cpu, _NoIntent(), _frame_of(now), now.platform)
    begin = seen.steps[0].registers
    found: list[_Mended] = []
    free = None
    for _ in range(_MOST_ROUNDS):
        obstacle = _obstacle(seen, mended.overlay)
        if obstacle is None:
            free = seen if found and seen.refused is None else None
            break
        if not found or not _is_same(found[-1].obstacle.finding, obstacle.finding):
            if len(found) == MOST_OBSTACLES:
                break
            found.append(_Mended(obstacle))
        nowhere = _stack_in_no_ram(mender, mended, seen)
        if nowhere is not None:
            found[-1] = _Mended(_fixed(obstacle, nowhere))
            break
        proposed = _mends(mender, mended, seen)
        mends = list(islice(proposed, _MOST_PAGES))
        found[-1].mends += mends
        found[-1].goes_on = next(proposed, None) is not None
        if not mends or found[-1].goes_on:
            break
        seen = judged(mended, seen.cpu, begin)
    return Ahead(tuple(map(_told, found)), free)


def _obstacle(seen: Forecast, overlay: Overlay) -> Obstacle | None:
    """What refuses."""
    if seen.refused is None or seen.fault is None or not seen.findings:
        return None
    return Obstacle(seen.refused.name, seen.fault, _as_dumped(seen.findings[0], seen.fault, overlay))


def _as_dumped(finding: Finding, fault: Fault, overlay: Overlay) -> Finding:
    """Instead of an entry in a table that was added, the one that is missing above it."""
    if finding.entry is None or fault.cr2 is None:
        return finding
    entry = overlay.origin(finding.entry)
    if entry.phys == finding.entry.phys:
        return replace(finding, entry=entry)
    added, missing = entry_name(finding.entry), entry_name(entry)
    title, detail = (words.replace(added, missing) for words in (finding.title, finding.detail))
    return replace(finding, title=title, detail=detail, entry=entry, range=covered(entry, fault.cr2))


def _is_same(one: Finding, other: Finding) -> bool:
    """The same rule of the same entry, or of another page's in the same table."""
    if one.entry is None or other.entry is None or one.rule != other.rule:
        return False
    tables = {entry.phys & -PAGE_BYTES for entry in (one.entry, other.entry)}
    return one.entry.phys == other.entry.phys or (one.entry.level == 1 and len(tables) == 1)


def _stack_in_no_ram(mender: Mender, mended: MendedCpu, seen: Forecast) -> str | None:
    """A stack that would be mapped to where the machine has no RAM: RSP is wrong, not the tables."""
    step = seen.refused
    if step is None or not step.name.startswith("stack"):
        return None
    frame, ram = mender.frame_of(step.virt), list(mended.ram())
    if frame is None or not ram or any(first <= frame <= last for first, last in ram):
        return None
    return f"there is no RAM at {frame:#x}, where the current tables lead: correct RSP"


def _mends(mender: Mender, mended: MendedCpu, seen: Forecast) -> Iterator[Mend]:
    """For what is refused, and for what the same instruction would be refused next for the same reason."""
    step = seen.refused
    if step is None or seen.fault is None or seen.fault.vector != PAGE_FAULT:
        return
    if any(finding.rule in _CAUSED_ELSEWHERE for finding in seen.findings):
        return
    reason, by = None, step.by
    for one in takewhile(lambda one: one.by == by, seen.steps[seen.steps.index(step) :]):
        refused = reach(mended, seen.cpu, one)
        if not isinstance(refused, PageFault):
            continue
        if refused.reason is not (reason or refused.reason):
            return
        reason = refused.reason
        mend = mender.mend(mended.overlay, one.kind, refused)
        if mend is None:
            return
        yield mend


def _told(one: _Mended) -> Obstacle:
    words = mend_words(one.mends)
    if not words:
        return one.obstacle
    source = ", as the current tables do" if any(mend.page for mend in one.mends) else ""
    more = "; the same for the pages behind them" if one.goes_on else ""
    return _fixed(one.obstacle, f"{', '.join(words)}{source}{more}")


def _fixed(obstacle: Obstacle, change: str) -> Obstacle:
    fix = f"{change}. {obstacle.finding.fix}"
    return replace(obstacle, finding=replace(obstacle.finding, fix=fix))


def _frame_of(now: StoppedCpu) -> FrameOf:
    """By the current tables, which a switch is to carry over; without a switch nothing tells."""

    def frame_of(virt: int) -> int | None:
        phys = walk(now, now.cpu, virt, now.platform).phys if switch_at_pc(now) else None
        return None if phys is None else phys & -PAGE_BYTES

    return frame_of
