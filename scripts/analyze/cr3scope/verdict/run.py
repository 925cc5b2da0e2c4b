"""What a guest that was watched comes to: by its trace, or by the log and the paused machine; and by how the run ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.facts.reset import ASKED, BY_GUEST, UNTOLD
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.logged import beside
from cr3scope.diagnose.observation import Observation
from cr3scope.errors import UnusableInput
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.log_report import LogReport
from cr3scope.message import Message, message
from cr3scope.model.prediction import Prediction
from cr3scope.verdict.assemble import assemble
from cr3scope.verdict.case import Case, Circumstance
from cr3scope.verdict.gave_up import panicked, with_panic
from cr3scope.verdict.linted import FileFinding, with_linted
from cr3scope.verdict.log import case_of_log
from cr3scope.verdict.picture import Picture
from cr3scope.verdict.places import placed
from cr3scope.verdict.status import status_of
from cr3scope.verdict.types import FaultWalk, Status, Unsaid, Verdict
from cr3scope.x86.ending import Ending
from cr3scope.x86.exceptions import describe

if TYPE_CHECKING:
    from cr3scope.images.symbols import Symbols


_TAKEN = (Ending.HANDLED, Ending.DELIVERED)  # by a handler, whatever became of it
_GIVES_UP = re.compile(r"panic|abort|assert|fatal|oops|stack_chk|(?:^|_)(?:die|bug|fail|failed)(?:$|[_+])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended, as only whoever watched it knows.

    ``exit_status``: of QEMU, where it ended by itself or by the guest; ``passed`` and ``failed``: it is what the
    guest itself gave. ``findings``, ``walk``, ``mended``, ``picture``, ``cpu`` (which of several), ``rip`` and ``callers`` are what the
    paused machine told, ``at_switch`` what it told before, when its loader was about to switch; ``is_firmwares``: it stood under the firmware's own tables. ``held``: why it could not be let go from where it was stopped, "" if it was. ``panic``: what the guest
    said when it gave up, None if it did not. ``said``: its last words. ``linted``: what the guest's files show by themselves.
    """

    exit_status: int | None = None
    passed: bool = False
    failed: bool = False
    words: str = ""  # QEMU's last ones on standard error
    lost: Sequence[str] = ()  # what is missing of the evidence: without it nobody can say that all is well
    never_ran: str = ""  # why it has not executed an instruction, "" if it may have
    is_interrupted: bool = False
    held: str = ""
    asked_for_reset: bool = False
    is_reset_untold: bool = False  # nothing tells whether it did, or died of a triple fault
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()
    at_switch: tuple[Finding, ...] = ()
    walk: FaultWalk | None = None
    mended: Prediction | None = None
    picture: Picture | None = None
    cpu: str = ""
    rip: int | None = None
    callers: tuple[int, ...] = ()
    is_firmwares: bool = False
    panic: str | None = None
    refused: str | None = None  # the line that it must not say
    unsaid: Unsaid | None = None  # what it was to say, and did not
    ended: str = ""  # why the watching ended, in a word
    said: tuple[str, ...] = ()
    notes: Sequence[str] = ()
    linted: Sequence[FileFinding] = ()
    because: str = ""  # why what was seen so far is judged, in words that explain what is missing


def judge_traced(end: RunEnd, case: Case, symbols: Symbols) -> Verdict:
    """Return the verdict on a run whose trace, with the log, came to ``case``."""
    return assemble(with_linted(_with_end(with_panic(case, end.panic), end), end.linted, end.rip), symbols)


def judge_untraced(end: RunEnd, report: LogReport, symbols: Symbols | None) -> Verdict:
    """Return the verdict on a run that left no trace; ``symbols``: of what the guest had loaded, None if nobody knows."""
    spoke = end.panic is not None and report.ending in _TAKEN
    case = _with_examination(case_of_log(replace(report, earlier=()) if spoke else report), end)
    case = _with_panic(_with_reset(case, end), end)
    if symbols is not None and case.observation is not None:
        try:
            seen, notes = placed(case.observation, report, symbols, end.rip, end.callers)
        except UnusableInput as error:  # a damaged file costs its names, not what the boot has shown
            notes = (Diagnostic(str(error)),)
            symbols = None
        else:
            case = replace(case, observation=_gives_up(seen))
        case = replace(case, diagnostics=(*case.diagnostics, *notes))
    return assemble(with_linted(_with_end(_with_last_words(case, end), end), end.linted, end.rip), symbols)


def judge_heard(end: RunEnd, case: Case, symbols: Symbols | None) -> Verdict:
    """Return the verdict on a machine of which only the console was heard: by its trace, or by what else it said, as ``case``."""
    seen = case.observation
    if (seen is None or seen.ending is None) and Circumstance.GAVE_UP not in case.circumstances:
        case = _with_panic(case, end)
    return assemble(_with_end(_with_last_words(case, end), end), symbols)


def _gives_up(seen: Observation) -> Observation:
    """A guest that is parked in a function whose name says that it cannot go on hangs."""
    names = [place.symbol or "" for place in seen.places if seen.ending is Ending.PARKED and place.name in ("RIP", "stack")]
    return replace(seen, ending=Ending.HANG) if any(map(_GIVES_UP.search, names)) else seen


def _plus(case: Case, *circumstances: Circumstance) -> Case:
    return replace(case, circumstances=case.circumstances.union(circumstances))


def _with_examination(case: Case, end: RunEnd) -> Case:
    """With what the paused machine told."""
    seen = case.observation
    assert seen is not None
    if end.cpu:  # the log alone can often but guess
        seen = replace(seen, cpu=end.cpu)
    if end.is_firmwares and seen.switch is not None and not seen.switch.before:
        own = "under the firmware's own tables: nobody has switched yet"
        seen = replace(seen, detail=message("{detail}; {own}", detail=seen.detail, own=own) if seen.detail else own)
    found = end.findings or end.at_switch or (case.findings if seen.ending is None else ())
    if seen.ending is not None and end.panic is None:  # who can still speak has handled what the log shows
        found = (*found, *beside(found, case.findings))
    walk = end.walk if seen.ending is not None else None  # of one that was survived nobody asks
    case = replace(case, observation=seen, findings=found, walk=walk, mended=end.mended, picture=end.picture)
    return _plus(case, Circumstance.STOPPED_BY_IT) if end.findings else case


def _with_reset(case: Case, end: RunEnd) -> Case:
    if not end.asked_for_reset or status_of(case) is not Status.HEALTHY:
        return case
    if end.is_reset_untold:
        found = BY_ID["reset-untold"].finding(Message(UNTOLD), Message(BY_GUEST))
    else:
        found = BY_ID["asked-for-reset"].finding(Message(ASKED), Message(f"{BY_GUEST} without a triple fault"))
    return _plus(replace(case, findings=(*case.findings, found)), Circumstance.ENDED_WITH_FAILURE)


def _with_panic(case: Case, end: RunEnd) -> Case:
    if end.panic is None:
        return case
    found = panicked(end.panic)
    seen = case.observation
    if seen is not None and seen.ending in _TAKEN and seen.first is not None:
        # Who can still speak has handled it; what came of it, the message says.
        what = describe(seen.first.vector, seen.first.error_code)
        detail = f"before that {what} at RIP={seen.first.rip or 0:#x}, and it was handled"
        seen = replace(seen, ending=None, detail=detail, events=())
    return _plus(replace(case, findings=(found, *case.findings), observation=seen, mended=None), Circumstance.GAVE_UP)


def _with_refused(case: Case, end: RunEnd) -> Case:
    if end.refused is None:
        return case
    found = BY_ID["kernel-panic"].finding(
        message("the guest said what it must not say: {words}", words=end.refused), Message("said on the serial port; --fail asks for it")
    )
    return _plus(replace(case, findings=(found, *case.findings), mended=None), Circumstance.GAVE_UP)


def _with_last_words(case: Case, end: RunEnd) -> Case:
    """Of a guest that is not well."""
    well = status_of(case) is Status.HEALTHY and not case.findings
    if well or case.observation is None:
        return case
    return replace(case, observation=replace(case.observation, said=end.said))


def _with_end(case: Case, end: RunEnd) -> Case:
    """With the guest's own word on how it went, and what went wrong with the watching."""
    if end.passed and case.observation is None:
        ran = Observation(None, source=f"isa-debug-exit, QEMU's exit status {end.exit_status}")
        survives = case.prediction.survives if case.prediction else None
        case = replace(case, observation=ran, agreement=survives)
    elif end.failed and status_of(case) is Status.HEALTHY:
        found = replace(
            BY_ID["kernel-check-failed"].finding(
                message("the kernel ended with FAIL (QEMU's exit status {exit_status})", exit_status=end.exit_status),
                Message("the capture does not say which check failed"),
            ),
            fix=Message("give the kernel a trace sink that outlives ExitBootServices, and run again"),
        )
        case = _plus(replace(case, findings=(*case.findings, found)), Circumstance.ENDED_WITH_FAILURE)
    case = _with_refused(case, end)
    heads: list[str] = []  # what explains the verdict: the first of them is its headline
    if end.exit_status is not None and end.exit_status < 0:
        heads.append(f"QEMU itself was ended by signal {-end.exit_status}{': ' if end.words else ''}{end.words}")
        case = _plus(case, Circumstance.CUT_SHORT)
    if end.never_ran:
        case = _plus(replace(case, observation=None, agreement=None), Circumstance.NEVER_RAN)
        heads.append(f"the guest never ran: {end.never_ran}")
    if end.lost:
        case = _plus(case, Circumstance.CUT_SHORT)
    if end.lost or end.is_interrupted or end.held:
        seen = case.observation
        if seen is not None and seen.ending is None:  # not "ran": nobody knows what would have come
            case = replace(case, observation=None, agreement=None)
    if end.is_interrupted or end.held:
        where = "" if end.rip is None else f", at RIP={end.rip:#x}"
        what = f"the guest stood at its switch and could not be let go: {end.held}:" if end.held else "interrupted"
        heads.append(f"{what} after {end.seconds:.1f} s{where}")
        case = _plus(case, Circumstance.CUT_SHORT)
    heads.extend(end.lost)
    if end.because:
        heads.append(end.because)
    if end.unsaid and status_of(case) in (Status.HEALTHY, Status.HUNG):
        heads.insert(0, f"the guest never said {end.unsaid.pattern!r} ({end.unsaid.option})")
        case = _plus(case, Circumstance.UNSAID)
    if case.observation is not None:
        case = replace(case, observation=replace(case.observation, ended=end.ended))
    first, last = map(Diagnostic, heads), map(Diagnostic, end.notes)
    return replace(case, diagnostics=(*first, *case.diagnostics, *last))
