"""What a rule is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.witness import Witness
from cr3scope.message import Message
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.descriptors import Gate
from cr3scope.x86.mode import Mode, mode_of
from cr3scope.x86.platform import Platform

if TYPE_CHECKING:  # what a rule that is asked of a log alone never sees: numpy takes longer to load than a log to judge
    from cr3scope.diagnose.facts.attribution import Attribution
    from cr3scope.diagnose.linted_file import LintedFile
    from cr3scope.diagnose.observation import Observation
    from cr3scope.input.capture.records import Boot
    from cr3scope.model.facts import Facts
    from cr3scope.model.intent import Intent
    from cr3scope.model.prediction import Prediction
    from cr3scope.model.strike import Strike
    from cr3scope.paging.tables import Tables
    from cr3scope.paging.walk import Walk
    from cr3scope.x86.registers import Registers


class Need(Enum):
    """What a rule looks at, and what may be absent."""

    SWITCH = "the CPU's state at the switch and the new tables"
    TRACE = "a trace, which tells what addresses are for"
    LIVE = "a CPU that stands, whose tables are in force"


NOTHING: frozenset[Need] = frozenset()
SWITCH = frozenset({Need.SWITCH})
TRACE = frozenset({Need.SWITCH, Need.TRACE})
LIVE = frozenset({Need.SWITCH, Need.LIVE})


@dataclass(frozen=True, slots=True)
class SwitchState:
    """The CPU as the switch finds it: ``tables`` are the new ones. ``walks``: what was met in them (``shared/met.py``)."""

    cpu: CpuState
    registers: Registers
    tables: Tables
    walks: dict[tuple[int, Platform], Walk] = field(default_factory=dict, init=False, compare=False)


@dataclass(frozen=True, slots=True)
class Context:
    """One boot, or one CPU that stands, as the rules see it.

    ``switch`` is None where a trace does not tell it; ``mended``: tables in which the plan survives; ``restarts`` counts boots that
    switched and began anew. ``is_told``: a trace tells what addresses are for; else that is inferred, and
    ``boot`` holds nothing but what is. ``current``: what is in force before the switch, where that is known.
    ``is_over``: the machine has gone on behind the switch; False of one that stands before it. ``gate_of`` returns address
    and bytes of a gate of the IDT of a CPU that stands, None if it cannot be read; without one nobody stands.
    ``witness``: what else could have told how it went. ``all_facts``: the facts of the new tables, of whoever asks rules that
    look at all of them. ``told_in_place``: ``intent`` as far as its ranges lie where the tables put them, of a door that has looked; else None.
    """

    boot: Boot
    intent: Intent
    attribution: Attribution
    restarts: int = 0
    switch: SwitchState | None = None
    platform: Platform = Platform.HARDWARE
    mended: Tables | None = None
    prediction: Prediction | None = None
    observation: Observation | None = None
    agreement: bool | None = None
    is_told: bool = True
    current: CpuState | None = None
    is_over: bool = True
    gate_of: Callable[[int], tuple[int, int] | None] | None = None
    witness: Witness = Witness.NOBODY
    all_facts: Facts | None = None
    told_in_place: Intent | None = None

    @property
    def there(self) -> frozenset[Need]:
        """Return what is there of what a rule may need."""
        absent = {Need.SWITCH: self.switch is None, Need.TRACE: not self.is_told, Need.LIVE: self.gate_of is None}
        return frozenset(need for need, is_absent in absent.items() if not is_absent)

    @property
    def mode(self) -> Mode | None:
        """Return the mode in which the switch leaves the CPU, or in which it stands; None where nobody tells."""
        return None if self.switch is None else mode_of(self.switch.cpu)

    def gate(self, vector: int) -> Gate | None:
        """Return a gate of the IDT of a CPU that stands; None if it lies beyond the limit, or cannot be read."""
        found = self.gate_of(vector) if self.gate_of is not None else None
        return None if found is None else Gate.decode(found[1].to_bytes(self.registers.mode.gate_bytes, "little"))

    @property
    def cpu(self) -> CpuState:
        """Return the CPU's state at the switch; for rules that need it (``Need.SWITCH``)."""
        return self._at_switch.cpu

    @property
    def registers(self) -> Registers:
        """Return what an exception reads; for rules that need it."""
        return self._at_switch.registers

    @property
    def tables(self) -> Tables:
        """Return the new tables; for rules that need them."""
        return self._at_switch.tables

    @property
    def in_place(self) -> Intent:
        """Return what lies in which memory: by the tables where a door has looked, else as it was told."""
        return self.told_in_place or self.intent

    @property
    def facts(self) -> Facts:
        """Return what the tables come to as a whole; for rules that need the switch."""
        assert self.all_facts is not None, "a door that asks rules about whole tables makes no facts for them"
        return self.all_facts

    @property
    def _at_switch(self) -> SwitchState:
        assert self.switch is not None, "a rule that looks at the switch does not say so in `needs`"
        return self.switch


@dataclass(frozen=True, slots=True)
class Claim:
    """A rule's answer to a strike that is its own. ``severity`` None: that of the rule.

    ``stands_alone``: the rule knows the cause, which no edit of the refusing entry would mend: a
    register, an address, an entry further up. All its strikes are one finding then, and only its own
    fix is told. ``entry``: the one to blame, where it is not the refusing one.
    """

    title: Message
    severity: Severity | None = None
    proof: tuple[Message, ...] = ()
    stands_alone: bool = False
    entry: EntryRef | None = None


# `step` of a finding about what happens before the plan begins.
BEFORE_ALL_STEPS = -1


def claims_nothing(_context: Context, _strike: Strike) -> Claim | None:
    """Return None: what a rule claims that looks at no access."""
    return None


def finds_nothing(_context: Context) -> Iterator[Finding]:
    """Yield nothing: what a rule finds that only claims strikes."""
    return iter(())


def finds_nothing_logged(_death: LoggedDeath) -> Iterator[Finding]:
    """Yield nothing: what a rule finds that a log alone cannot bear out."""
    return iter(())


def finds_nothing_in_file(_file: LintedFile) -> Iterator[Finding]:
    """Yield nothing: what a rule finds that a file alone cannot show."""
    return iter(())


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of mistake, and how it is told from others.

    ``claim`` is asked about every access that the tables refuse, in the order of
    ``catalogue.RULES``; the first rule that answers owns it. ``check`` looks at everything else.
    ``needs``: without it neither is asked (a strike that is claimed always has its switch). ``logged`` looks at a death of
    which a log alone tells; a rule that has it stands in ``logged.RULES`` too. ``lint`` looks at a file that nobody has booted.
    ``yields``: it adds nothing of an entry in which another rule has found an error, and stands beside that then.
    ``modes``: those in which its mistake can be made; whoever asks rules asks it in no other (:func:`able`, ``spoken``), and
    where an instruction is refused because of the mode that it enters, that mode counts. A file is of no mode.
    """

    id: str
    title: str
    severity: Severity
    modes: frozenset[Mode]
    reason: str  # why it happens, and why the CPU does what it does
    shows: str  # how it looks in a log
    fix: str
    manual: str  # where the architecture says so
    claim: Callable[[Context, Strike], Claim | None] = claims_nothing
    check: Callable[[Context], Iterator[Finding]] = finds_nothing
    needs: frozenset[Need] = NOTHING
    yields: bool = False
    logged: Callable[[LoggedDeath], Iterator[Finding]] = finds_nothing_logged
    lint: Callable[[LintedFile], Iterator[Finding]] = finds_nothing_in_file

    def speaks_in(self, mode: Mode | None) -> bool:
        """Return whether the mistake can be made in a mode; of None, which nobody knows, it may have been."""
        return mode is None or mode in self.modes

    def finding(self, title: Message, *proof: Message, severity: Severity | None = None, fix: str | None = None) -> Finding:
        """Return a finding of this rule that names no entry; ``severity`` and ``fix`` None: those of the rule."""
        return Finding(self.id, severity or self.severity, title, proof, Message(self.fix if fix is None else fix))


def able(rules: Iterable[Rule], context: Context) -> list[Rule]:
    """Return the rules that may be asked, in their order: all is there that they need, and the CPU is in a mode of theirs."""
    there, mode = context.there, context.mode
    return [rule for rule in rules if rule.needs <= there and rule.speaks_in(mode)]
