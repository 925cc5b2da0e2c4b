"""Why the watching of a guest ended, and what is known then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from enum import Enum
from pathlib import Path

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.writer import GuiltyWord
from cr3scope.images.loaded import Image
from cr3scope.model.parked import Park
from cr3scope.model.prediction import Prediction
from cr3scope.verdict.picture import Picture
from cr3scope.verdict.types import FaultWalk, Unsaid
from cr3scope.qemu.awaited import EXPECT
from cr3scope.qemu.run_state import ASLEEP, NEVER_RAN, PAUSED, RUNNING
from cr3scope.target.standstill import Look, Registers
from cr3scope.x86.access import Fault

# Status of QEMU when the guest writes 10h or 11h to isa-debug-exit: (value << 1) | 1.
DEBUG_EXIT_PASS, DEBUG_EXIT_FAIL = 33, 35


class Reason(Enum):
    """Why the watching ended."""

    EXITED = "QEMU exited"
    SHUT_DOWN = "the guest powered off"
    RESET = "the guest reset"
    PANICKED = "the guest panicked"
    SAID_ALL = "the trace is complete"
    AWAITED = "the guest said what was waited for"
    REFUSED = "the guest said what it must not say"
    IDLE = "the guest was idle"
    SCREEN = "the firmware printed its exception screen"
    STORM = "the same exception came without end"
    STANDSTILL = "no CPU can ever go on"
    NOTHING_BOOTED = "the firmware has nothing left to boot"
    STOPPED = "QEMU stopped the guest"
    ENDED = "somebody else ended QEMU"
    TIMEOUT = "the time was up"
    INTERRUPTED = "interrupted"
    HELD = "the guest could not be let go"


@dataclass(slots=True)
class Outcome:
    """What is known at the end. ``registers`` are those of CPU number ``cpu``, if QEMU was asked."""

    reason: Reason = Reason.EXITED
    started: bool = False  # QEMU came as far as running a guest
    qemu: tuple[int, int] | None = None  # its version, major and minor
    argv: tuple[str, ...] = ()  # with which it was started, whatever script the command is
    exit_status: int | None = None
    registers: Registers = field(default_factory=dict)
    cpu: int = 0
    judged: str = ""  # which CPU that is, in words, where there are several and one died
    run_state: str = ""  # QEMU's, when the guest was asked
    is_emulated: bool = False  # QEMU itself executes the guest, and so logs its exceptions: the log holds some, or QEMU says so of one that resets
    met: Fault | None = None  # what the instruction at which a reset came cannot but raise, where nobody logs it
    triple_fault: bool = False  # the log ends with QEMU's word for it
    watchdog: str = ""  # what a watchdog device did that has barked
    held: str = ""  # why the guest could not be let go from where it was stopped
    unsaid: tuple[Unsaid, ...] = ()  # what it was to say, and did not
    refused: str | None = None  # the line that it must not say
    parked: Park | None = None  # how its own code keeps it where it stands
    gave_up: str = ""  # how the firmware showed that nothing is left to boot
    looks: list[Look] = field(default_factory=list)  # the last ones at all CPUs
    serial: bytes = b""
    stdout: bytes = b""
    screen: str = ""  # the text on a BIOS guest's screen
    words: str = ""  # QEMU's standard error
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)  # those of the notes without whose matter nobody can say that all is well
    ended_by: str = ""  # who ended it, in QEMU's word, if that was not the guest
    is_log_whole: bool = True  # as far as it is to be kept
    has_debug_exit: bool = False  # the command gives the guest an isa-debug-exit
    is_bare: bool = False  # the command is QEMU itself, and no script around it
    panic: str | None = None  # why a kernel gave up, in its own words, as seen when they came
    findings: tuple[Finding, ...] = ()  # of whoever examined the paused guest
    audited: tuple[Finding, ...] = ()  # what would strike next, of whoever looked at all CPUs
    at_switch: tuple[Finding, ...] = ()  # of whoever looked at it right before it switched
    walk: FaultWalk | None = None  # of the address of the page fault that it died of
    mended: Prediction | None = None  # how it would go on with all findings mended
    picture: Picture | None = None  # of the tables that the paused guest left
    images: tuple[Image, ...] = ()  # those that the firmware loaded
    bases: dict[Path, int] = field(default_factory=dict)  # where files given by the user lie
    callers: tuple[int, ...] = ()  # return addresses on the stack of whoever died, newest first
    guilty: tuple[GuiltyWord, ...] = ()  # what findings are about that is no entry
    kept: tuple[str, ...] = ()  # lines about the files that hold the paused guest's state

    def left(self, status: int | None) -> None:
        """Take QEMU's exit status; None if it is still there.

        At a write to isa-debug-exit QEMU 7.2 leaves at once; later ones stop the guest first, as if it had powered off, and give
        the status of that write when they leave: it is the guest that has ended them all the same.
        """
        self.exit_status = status
        is_guests = status in (DEBUG_EXIT_PASS, DEBUG_EXIT_FAIL) or self.has_debug_exit and status is not None and status > 0 and status % 2 == 1
        if self.reason is Reason.SHUT_DOWN and is_guests:
            self.reason = Reason.EXITED

    @property
    def debug_exit(self) -> int | None:
        """Return the status with which the guest itself ended QEMU through isa-debug-exit; None if it did not."""
        is_known = self.reason is Reason.EXITED and self.exit_status in (DEBUG_EXIT_PASS, DEBUG_EXIT_FAIL)
        return self.exit_status if is_known else None

    @property
    def is_reset_untold(self) -> bool:
        """Return whether the guest reset, and a triple fault would not have been logged."""
        return self.reason is Reason.RESET and not (self.triple_fault or self.watchdog or self.is_emulated and self.is_log_whole)

    @property
    def never_ran(self) -> str:
        """Return why the guest has not executed an instruction; "" if it may have."""
        return NEVER_RAN.get(self.run_state, "")

    @property
    def runs(self) -> bool:
        """Return whether it ran when QEMU was asked last, as far as is known."""
        return self.run_state in ("", RUNNING)

    @property
    def stands_where_it_stood(self) -> bool:
        """Return whether its CPUs are those that will go on: at once, or when a debugger lets them."""
        return self.runs or self.run_state in PAUSED

    @property
    def is_stopped(self) -> bool:
        """Return whether it is neither at work nor asleep: what it would have done next nobody has seen."""
        return not (self.runs or self.never_ran or self.run_state == ASLEEP)

    def lose(self, words: str) -> None:
        """Add a note of what of the evidence is missing: a guest of which not all was seen is never healthy."""
        self.notes.append(words)
        self.losses.append(words)

    def put_first(self, findings: Sequence[Finding]) -> None:
        """Put what explains more before what was found; how it would go on with that mended then tells nothing."""
        if findings:
            self.findings, self.mended = (*findings, *self.findings), None

    def forget_examination(self) -> None:
        """Drop what the paused guest told: one that ended with success died of nothing."""
        self.findings, self.walk, self.mended, self.images, self.callers, self.kept, self.judged = (), None, None, (), (), (), ""
        self.picture, self.audited, self.guilty = None, (), ()

    @property
    def missed(self) -> Unsaid | None:
        """Return what a guest should have said and did not; None if all is said.

        A pattern that ends the run is missed by a guest that is still there: one that ended otherwise is done, too.
        """
        is_there = self.reason in (Reason.TIMEOUT, Reason.STANDSTILL)
        return next((each for each in self.unsaid if each.option == EXPECT or is_there), None)

    @property
    def passed(self) -> bool:
        """Return whether the guest itself ended QEMU and said that all is well."""
        return self.debug_exit == DEBUG_EXIT_PASS
