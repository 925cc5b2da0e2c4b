"""What the machine did."""

from __future__ import annotations


from cr3scope.dataclass import dataclass
from cr3scope.images.place import Place
from cr3scope.input.logs.count import Count
from cr3scope.input.logs.event import NO_DUMP, RegisterDump
from cr3scope.input.logs.happened import Happened, Repetition
from cr3scope.input.logs.log_report import LogReport
from cr3scope.input.logs.switched import Switch
from cr3scope.message import Message
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending
from cr3scope.x86.standing import Standing


@dataclass(frozen=True, slots=True)
class Observation:
    """What the machine did. ``ending`` is None if it ran."""

    ending: Ending | None
    first: Fault | None = None
    records: int = 0  # exceptions under the new CR3; of a storm by their numbers, whatever came between
    source: str = ""  # where this was seen: "interrupts.log", "fault record", ...
    detail: str | Message | None = None
    standing: Standing | None = None  # of a machine that was still there at the end
    switch: Switch | None = None
    cpu: str | Message = ""  # which of several CPUs this is of
    last: str | Message = ""  # of a log without a fault: what the guest was doing when last seen
    places: tuple[Place, ...] = ()  # of RIP, CR2 and return addresses, as far as files and images tell
    said: tuple[str, ...] = ()  # what a guest that died or hung printed last
    counted: Count | None = None  # of what kind ``records`` are; None where nobody counted
    earliest: Fault | None = None  # the first exception of all that were seen, whatever became of it
    events: tuple[Happened, ...] = ()  # the fatal event, and the chain from it on, as far as a log tells
    storm: Repetition | None = None  # in which they end
    is_shutdown: bool = False  # the last exception could not be delivered
    dump: RegisterDump = NO_DUMP  # the registers at the fatal event
    ended: str = ""  # why the watching of a run ended, in a word
    cpu_number: int | None = None  # of several CPUs, where that is certain
    boots: int = 1  # of which the log tells
    is_routine: bool = False  # exceptions of the same kind were survived before the last one


def observed(report: LogReport) -> Observation:
    """Return what a log tells, as the verdict states it."""
    return Observation(
        report.ending, report.first, report.records, report.source, report.detail,
        report.standing, report.switch, report.cpu, counted=report.counted,
        earliest=report.exceptions[0] if report.exceptions else None, events=report.events, storm=report.storm, is_shutdown=report.is_shutdown, dump=report.dump,
        cpu_number=report.cpu_number, boots=report.boots, is_routine=report.is_routine,
    )  # fmt: skip
