"""A verdict for a terminal: the first line is the answer, the rest fits on one screen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.observation import Observation
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.model.prediction import Prediction
from cr3scope.render import chain, finding as words_of
from cr3scope.render import message, source_line
from cr3scope.render.table import WIDTH
from cr3scope.render.terminal import paint
from cr3scope.render.wrapped import wrapped
from cr3scope.text import printable
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86 import exceptions
from cr3scope.x86.access import Fault
from cr3scope.x86.ending import Ending
from cr3scope.x86.names import entry_words, range_words

_MAX_DIAGNOSTICS = 8
_MOST_BRANCHES, _MOST_SHAPED = 6, 4  # of those that JSON has
_STYLE_OF = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
_SOURCE, _WRITER = "source", "writer"
_FIRST_STEP = "at the first instruction after mov cr3"


def render(verdict: Verdict, colour: bool = False) -> str:
    """Return the whole report, with a final newline."""
    return "\n".join(_lines(verdict, colour)) + "\n"


def _lines(verdict: Verdict, colour: bool) -> Iterator[str]:
    style = "good" if verdict.status is Status.HEALTHY else "error"
    yield paint(printable(headline(verdict)), style, colour)
    yield from _story(verdict, colour)
    yield from _path(verdict, colour)
    if verdict.walk is not None:
        from cr3scope.render import fault_walk  # triage of a log alone needs no page walk

        yield from fault_walk.as_text(verdict.walk, colour)
    loud = [f for f in verdict.findings if f.severity is not Severity.NOTE]
    for number, finding in enumerate(loud, 1):
        yield ""
        yield from _finding(number, finding, verdict, colour)
        following = loud[number : number + 1]
        if finding.step is not None and following and following[0].step is not None:
            yield paint("   with that mended, the next to strike:", "dim", colour)
    if verdict.mended is not None:
        words = f"with all of that mended: {goes_on(verdict.mended)}"
        yield from (paint(line, "dim", colour) for line in _wrapped("   ", words, 3))
    notes = [f for f in verdict.findings if f.severity is Severity.NOTE]
    if notes:
        yield ""
    for note in notes:
        yield from _labelled("", "note", f"{words_of.title(note)} [{note.rule}]", 6, colour)
    yield from _diagnostics(verdict.diagnostics, colour)


def headline(verdict: Verdict) -> str:
    """Return the answer in one line."""
    prediction, observation = verdict.prediction, verdict.observation
    if verdict.status is Status.HEALTHY:
        if observation is not None and observation.ending is Ending.PARKED:
            return "HEALTHY: no exception ended this boot, and the guest parks on purpose"
        if prediction is None:
            return "HEALTHY: no exception ended this boot"
        if prediction.followed:
            return f"HEALTHY: {message.text(prediction.followed)}"
        seen = ", and the machine ran" if observation else ""
        return f"HEALTHY: every step of the plan goes through{seen}"
    if verdict.status is Status.WILL_FAULT and prediction is not None and prediction.first:
        return f"WILL FAULT: {fault_words(prediction.first)} {_where(prediction)}"
    if verdict.status is Status.WILL_FAULT and prediction and prediction.diverges is not None:
        return f"WILL FAULT: from step {prediction.diverges} on the bytes are not those that were meant"
    if verdict.status is Status.FAULTED:
        return f"FAULTED: {_faulted(prediction, observation, verdict)}"
    if verdict.status is Status.HUNG:
        if observation is None or observation.ending is not Ending.HANG:
            return f"HUNG: {_first_diagnostic(verdict) or 'the guest is not done'}"
        return "HUNG: the machine stopped without an exception"
    damage = next((d for d in verdict.diagnostics if d.line is not None), None)
    if damage is not None and verdict.status is Status.INCOMPLETE:
        return f"INCOMPLETE: {diagnostic_words(damage)}"
    reason = _first_error(verdict) or _first_diagnostic(verdict) or "not enough to judge"
    if verdict.status is Status.INCOMPLETE:
        return f"INCOMPLETE: {reason}"
    return f"{verdict.status.value.upper().replace('-', ' ')}: {reason}"


def _faulted(
    prediction: Prediction | None, observation: Observation | None, verdict: Verdict
) -> str:
    # A machine that ran had its exceptions handled: they are not the answer.
    ended = observation is not None and observation.ending is not None
    first = observation.first if observation and ended else None
    if observation is not None and observation.events and ended and not verdict.agreement:
        origin = observation.events[0].record
        return f"{chain.what(origin)}{f' at RIP={_hex(origin.rip)}' if origin.rip is not None else ''}"
    if first is None:
        detail = message.plain(observation.detail) if observation and observation.detail else ""
        return _first_error(verdict) or detail or "the machine did not run as it should"
    where = f"at RIP={_hex(first.rip)}"
    if verdict.agreement and prediction and prediction.first and prediction.diverges is None:
        where = _where(prediction)
    return f"{fault_words(first)} {where}"


def fault_words(fault: Fault) -> str:
    return exceptions.describe(fault.vector, fault.error_code, fault.is_fetch, fault.in_long_mode)


def _where(prediction: Prediction) -> str:
    if prediction.number == 0:
        return _FIRST_STEP
    return f"at: {step_words(prediction)}"


def step_words(prediction: Prediction) -> str:
    """Return the step that is refused, with symbol and line where they are known."""
    place, step = prediction.place, message.text(prediction.step)
    known = ", ".join(filter(None, (place.symbol, place.source))) if place else ""
    return f"{step} ({known})" if known else step


def goes_on(mended: Prediction) -> str:
    """Return how the code goes on with everything mended."""
    return "; then ".join(message.text(said) for said in (mended.followed, *mended.chain) if said)


def _first_error(verdict: Verdict) -> str | None:
    return next((words_of.title(f) for f in verdict.findings if f.severity is Severity.ERROR), None)


def _first_diagnostic(verdict: Verdict) -> str | None:
    return next((diagnostic_words(d) for d in verdict.diagnostics), None)


def _story(verdict: Verdict, colour: bool) -> Iterator[str]:
    """What the CPU does after the first exception, and what was seen of it."""
    prediction, observation = verdict.prediction, verdict.observation
    if prediction is not None and prediction.diverges is not None:
        yield from _labelled("  ", "astray", message.text(prediction.diverges_words), 9, colour)
    if prediction is not None and prediction.followed:
        for event in prediction.chain:
            yield from _labelled("  ", "then", message.text(event), 8, colour)
    if prediction is not None and not prediction.survives:
        if prediction.first is not None:
            yield _place(prediction.first)
            yield from _symbols(verdict, colour)
        for event in prediction.chain:
            yield from _labelled("  ", "then", message.text(event), 8, colour)
        if prediction.ends is not None:
            yield from _labelled("  ", "ends", prediction.ends.value, 8, colour)
    elif observation is not None and observation.first is not None and observation.ending:
        is_exception = not observation.events or observation.events[0].record.is_exception
        yield _place(observation.first, is_exception)
        yield from _symbols(verdict, colour)
        for words in chain.lines(observation):
            yield from _labelled("  ", "then", words, 8, colour)
    if verdict.rehearsal is not None:
        from cr3scope.render import rehearsal  # a log alone tells of none

        yield from _labelled("  ", "tried", rehearsal.words(verdict.rehearsal), 9, colour)
    if observation is not None:
        struck = observation.first is not None and observation.ending is not None
        predicted = prediction is not None and prediction.first is not None
        said = {True: "as foreseen", False: "NOT as foreseen", None: "not compared"}
        outcome = observation.ending.value if observation.ending else "ran"
        words = f"{observation.source}: {outcome}, {said[verdict.agreement]}"
        if observation.detail:
            words += f"; {message.plain(observation.detail)}"
        yield from _labelled("  ", "seen", words, 8, colour)
        if not struck and not predicted:
            yield from _symbols(verdict, colour)
        yield from _from_log(observation, colour)


def _from_log(observation: Observation, colour: bool) -> Iterator[str]:
    switch = observation.switch
    if switch is not None:
        before = "" if switch.before is None else f"{_hex(switch.before)} -> "
        words = f"CR3 {before}{_hex(switch.cr3)}, in the log from byte {switch.offset} on"
        yield from _labelled("  ", "switch", words, 9, colour)
    for label, words in (("cpu", message.plain(observation.cpu)), ("last", message.plain(observation.last))):
        if words:
            yield from _labelled("  ", label, words, 8, colour)
    for line in observation.said:
        yield from _labelled("  ", "said", line, 8, colour)


def _path(verdict: Verdict, colour: bool) -> Iterator[str]:
    """The last branches that led there, and the last instructions that shaped the switch."""
    if verdict.shaped:
        words = ", ".join(f"{each.what} at {each.place}" for each in verdict.shaped[-_MOST_SHAPED:])
        yield from _labelled("  ", "shaped", words, 9, colour)
    for number, each in enumerate(verdict.path[-_MOST_BRANCHES:]):
        times = f", {each.times} times" if each.times > 1 else ""
        yield from _labelled("  ", "" if number else "path", f"{each.places[0]} -> {each.places[1]}{times}", 8, colour)


def _symbols(verdict: Verdict, colour: bool) -> Iterator[str]:
    observation = verdict.observation
    for place in observation.places if observation else ():
        known = ", ".join(filter(None, (place.symbol, place.source)))
        if place.image:
            known = f"{known} ({printable(place.image)})" if known else printable(place.image)
        if place.name == "stack":
            words = f"{_hex(place.address)} {f'is {known}' if known else '(return address on the stack)'}"
            label = "from"
        else:
            words = f"{place.name}={_hex(place.address)} is {known}"
            label = "code" if place.name == "RIP" else "data"
        yield from _labelled("  ", label, words, 8, colour)
        yield from _source_text(place.source, verdict, 8, colour)


def _place(fault: Fault, is_exception: bool = True) -> str:
    """CR2 tells something of a page fault alone."""
    cr2 = f"CR2={_hex(fault.cr2)}  " if is_exception and fault.vector in exceptions.PAGE_FAULTS else ""
    return f"  {cr2}RIP={_hex(fault.rip)}"


def _finding(number: int, finding: Finding, verdict: Verdict, colour: bool) -> Iterator[str]:
    severity = finding.severity
    head, *rest = _wrapped(f"{number}  {severity.value} ", f"{words_of.title(finding)} [{finding.rule}]", 3)
    yield head.replace(severity.value, paint(severity.value, _STYLE_OF[severity], colour), 1)
    yield from rest
    for name, words in fields(finding):
        yield from _labelled("   ", name, words, 11, colour)
        if name == _SOURCE:
            yield from _source_text(words, verdict, 11, colour)
        elif name == _WRITER and finding.writer is not None:
            yield from _source_text(finding.writer.place, verdict, 11, colour)


def fields(finding: Finding) -> Iterator[tuple[str, str]]:
    if finding.entry is not None:
        yield "entry", entry_words(finding.entry)
    if finding.range is not None and finding.range[0] != finding.range[1]:
        yield "covers", range_words(*finding.range)
    if finding.source:
        yield _SOURCE, finding.source
    for number, line in enumerate(words_of.writer(finding)):
        yield "" if number else _WRITER, line
    for number, line in enumerate(words_of.proof(finding)):
        yield "" if number else "proof", line
    for words in words_of.also(finding):
        yield "also", words
    yield "mend", words_of.fix(finding)


def _source_text(source: str | None, verdict: Verdict, indent: int, colour: bool) -> Iterator[str]:
    """The line's own text below ``file:line``."""
    found = verdict.source_texts.get(source or "")
    if found is not None:
        yield paint(f"{' ' * indent}{source_line.as_text(found.number, found.text, WIDTH - indent)}", "dim", colour)


def _labelled(
    before: str, label: str, words: str, indent: int, colour: bool
) -> Iterator[str]:
    """``label`` and its words, which stand at column ``indent`` from the first line on."""
    head, *rest = _wrapped(f"{before}{label}".ljust(indent), words, indent)
    yield before + paint(label, "label", colour) + head[len(before) + len(label) :]
    yield from rest


def _wrapped(head: str, words: str, indent: int) -> Iterator[str]:
    """``head`` and ``words``, cleaned and wrapped; later lines begin at column ``indent``."""
    yield from wrapped(printable(words), WIDTH, head, " " * indent) or [head]


def _diagnostics(diagnostics: Sequence[Diagnostic], colour: bool) -> Iterator[str]:
    if diagnostics:
        yield ""
    for diagnostic in diagnostics[:_MAX_DIAGNOSTICS]:
        yield from _labelled("", "input", diagnostic_words(diagnostic), 6, colour)
    if len(diagnostics) > _MAX_DIAGNOSTICS:
        more = f"and {len(diagnostics) - _MAX_DIAGNOSTICS} more remarks"
        yield from _labelled("", "input", more, 6, colour)


def diagnostic_words(diagnostic: Diagnostic) -> str:
    place = [
        f"{name} {value}"
        for name, value in (("line", diagnostic.line), ("byte", diagnostic.offset))
        if value is not None
    ]
    words = message.plain(diagnostic.message)
    return f"{', '.join(place)}: {words}" if place else words


def _hex(value: int | None) -> str:
    return "unknown" if value is None else f"{value:#x}"
