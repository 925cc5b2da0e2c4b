"""What would let the code come further: what is refused is mended in a model of the tables, again and again."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.catalogue import RULES
from cr3scope.diagnose.compose import Cause, causes
from cr3scope.diagnose.facts.other_code import other_code
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.stopped import context, names_a_cause, refused_by_itself, strikes_of
from cr3scope.model.code_prediction import CodePrediction, judged, reach
from cr3scope.model.inferred import inferred
from cr3scope.model.known import NOTHING, Known
from cr3scope.model.mend import FrameOf, Mender
from cr3scope.model.changes import Mend
from cr3scope.model.role import Role
from cr3scope.model.strike import Strike
from cr3scope.paging.walk import PageFault, walk
from cr3scope.target.mended_cpu import mended_cpu
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.target.switch import switch_at_pc
from cr3scope.x86.access import Fault
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.exceptions import PAGE_FAULT

MOST_OBSTACLES = 4
_MOST_ROUNDS = 16
_MOST_PAGES = 512  # of one instruction


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One cause, with what it does first.

    ``finding.fix`` names the change of the tables that mends it, where one is known.
    """

    role: Role
    fault: Fault
    finding: Finding


@dataclass(frozen=True, slots=True)
class NextCauses:
    """The causes on the way that was looked at, in the order in which they strike.

    ``free``: how it goes with all of them mended; None where no change of the tables is known for the
    last one, or where there are more.
    """

    obstacles: tuple[Obstacle, ...] = ()
    free: CodePrediction | None = None


def next_causes(now: StoppedCpu, seen: CodePrediction, known: Known = NOTHING) -> NextCauses:
    """Return what would break next, and next; ``seen`` is the prediction with the tables as they are, ``known`` what
    files and memory tell of addresses. None of code that is not the one before the switch."""
    if seen.refused is None or seen.fault is None or other_code(now, seen) is not None:
        return NextCauses()
    if seen.veto is None:
        return NextCauses((Obstacle(seen.refused.role, seen.fault, refused_by_itself(now, seen)),))
    way = _Way(now, seen, known)
    for _ in range(_MOST_ROUNDS):
        if seen.refused is None or not way.take(seen):
            break
        seen = judged(way.mended.now, seen.start or seen.cpu, way.begin)
    return NextCauses(way.obstacles(), seen if seen.refused is None else None)


class _Way:
    """The code on its way through tables that are mended as it goes."""

    def __init__(self, now: StoppedCpu, first: CodePrediction, known: Known) -> None:
        self.mended = mended_cpu(now)
        self.begin = first.steps[0].registers
        self._now, self._cpu, self._known = now, first.cpu, known
        self._strikes: list[Strike] = []

    def obstacles(self) -> tuple[Obstacle, ...]:
        """Return the causes so far."""
        return tuple(
            Obstacle(one.first.role, one.first.fault, one.finding)
            for one in self._causes(self._strikes)
            if one.first.role is not None and one.first.fault is not None
        )[:MOST_OBSTACLES]

    def take(self, seen: CodePrediction) -> bool:
        """Mend what refuses. Return False if that is not known, or there are enough causes."""
        step, veto = seen.refused, seen.veto
        if step is None or veto is None or not names_a_cause(veto):
            return False
        struck = list(strikes_of(seen, step, veto, self.mended.overlay))
        found = self._causes([*self._strikes, *struck])
        if not found:  # no rule speaks of a CPU that says it is in a mode that none can be in
            return False
        nowhere = self._stack_in_no_ram(seen)
        if nowhere is not None:
            struck = [replace(one, mend=nowhere) for one in struck]
        elif not found[-1].is_elsewhere:
            mended = self._mended(seen)
            self._strikes += mended or struck
            goes_on = bool(mended) and mended[-1].mend is not None and mended[-1].mend.goes_on
            return bool(mended) and not goes_on and len(self._causes(self._strikes)) <= MOST_OBSTACLES
        self._strikes += struck
        return False

    def _causes(self, struck: list[Strike]) -> list[Cause]:
        seen = context(self._now, self._cpu, self.begin, struck, known=self._known)
        return causes(seen, RULES, struck)

    def _stack_in_no_ram(self, seen: CodePrediction) -> Mend | None:
        """A stack that would be mapped to where the machine has no RAM: RSP is wrong, not the tables."""
        step = seen.refused
        if step is None or not step.role.is_stack:
            return None
        frame, ram = self._mender(seen).frame_of(step.virt), list(self._now.ram())
        if frame is None or not ram or any(first <= frame <= last for first, last in ram):
            return None
        return Mend(no_ram=frame)

    def _mended(self, seen: CodePrediction) -> list[Strike]:
        """Mend what is refused, and what the same instruction would be refused next for the same reason."""
        step = seen.refused
        if step is None or seen.fault is None or seen.fault.vector != PAGE_FAULT:
            return []
        mender, reason, by, pages = self._mender(seen), None, step.by, 0
        done: list[Strike] = []
        for one in takewhile(lambda one: one.by == by, seen.steps[seen.steps.index(step) :]):
            refused = reach(self.mended.now, seen.cpu, one)
            if not isinstance(refused, PageFault):
                continue
            if refused.reason is not (reason or refused.reason):
                break
            if pages == _MOST_PAGES and done[-1].mend is not None:
                done[-1] = replace(done[-1], mend=replace(done[-1].mend, goes_on=True))
                break
            reason = refused.reason
            struck = list(strikes_of(seen, one, refused, self.mended.overlay))
            mend = mender.mend(self.mended.overlay, one.kind, refused)
            if mend is None:
                break
            pages += 1
            mend = replace(mend, as_now=mend.page is not None)
            done += [replace(each, mend=mend) for each in struck]
        return done

    def _mender(self, seen: CodePrediction) -> Mender:
        step = seen.refused
        registers = step.registers if step else self.begin
        wanted = [(step.virt, step.registers.stack, step.by)] if step else []
        meaning = inferred(self._now, registers, wanted, self._known)
        return Mender(self._cpu, meaning, _frame_of(self._now), self._now.platform)


def _frame_of(now: StoppedCpu) -> FrameOf:
    """Return what looks up a frame in the current tables, which a switch is to carry over; without a switch nothing tells."""

    def frame_of(virt: int) -> int | None:
        phys = walk(now, now.cpu, virt, now.platform).phys if switch_at_pc(now) else None
        return None if phys is None else phys & -PAGE_BYTES

    return frame_of
