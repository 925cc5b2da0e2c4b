"""The course of a boot, event by event, as evidence tells it: what was mapped, written, planned, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.diagnose.observation import Observation
from cr3scope.input.capture.records import Boot
from cr3scope.model.plan import strike
from cr3scope.paging.walk import PageFault, access
from cr3scope.render import chain, message, role
from cr3scope.render.walk import bit_names
from cr3scope.text import printable
from cr3scope.verdict.picture import Picture, Space, Step
from cr3scope.verdict.types import Verdict
from cr3scope.x86 import exceptions
from cr3scope.x86.access import EntryRef
from cr3scope.x86.platform import Platform
from cr3scope.x86.names import entry_name, range_words


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the course. ``kind``: a word to filter by; ``where``: the line of the capture, or of the source."""

    kind: str
    words: str
    where: str = ""
    is_bad: bool = False


def course(verdict: Verdict, guilty: frozenset[int]) -> tuple[list[Event], int]:
    """Return the events in order, and how many are left out past the budget; ``guilty``: addresses of entries to blame."""
    picture = verdict.picture
    if picture is None or picture.boot is None:
        return [*_steps(picture), *_seen(verdict)], 0
    boot, most = picture.boot, limits.REPORT_EVENTS
    # The writes to guilty entries are what one looks for.
    writes = sorted(boot.sets, key=lambda one: one.entry not in guilty)[:most]
    shown = replace(boot, maps=boot.maps[:most], sets=writes, calls=boot.calls[:most], checks=boot.checks[:most])
    left_out = sum(len(getattr(boot, name)) - len(getattr(shown, name)) for name in ("maps", "sets", "calls", "checks"))
    told = list(_told(replace(picture, boot=shown), guilty))
    return [*told, *_steps(picture), *_seen(verdict)], left_out


def _told(picture: Picture, guilty: frozenset[int]) -> Iterator[Event]:
    """What a trace tells up to the switch, in the order of its lines."""
    boot = picture.boot
    assert boot is not None
    if boot.firmware:
        yield Event("boot", printable(f"firmware {boot.firmware}"))
    for key, value in boot.config.items():
        yield Event("boot", printable(f"setting {key}={value}"))
    for _, event in sorted(_records(picture, boot, guilty), key=lambda pair: pair[0]):
        yield event


def _records(picture: Picture, boot: Boot, guilty: frozenset[int]) -> Iterator[tuple[int, Event]]:
    for image in boot.images:
        words = f"image {image.name} at {range_words(image.base, image.base + max(image.size, 1) - 1)}"
        yield image.line, Event("image", printable(words), _line(image.line))
    for one in boot.maps:
        words = f"map {one.name} ({one.role}) {range_words(one.virt, one.last)} to {one.phys:#x}, {one.rights}"
        yield one.line, Event("map", printable(words), _by(picture, one.caller, one.line))
    for written in boot.sets:
        entry = EntryRef(written.level, written.index, written.entry, written.new)
        words = f"{entry_name(entry)} at {written.entry:#x}: {written.old:#x} becomes {written.new:#x} ({bit_names(entry)})"
        yield written.line, Event("write", words, _by(picture, written.caller, written.line), written.entry in guilty)
    for call in boot.calls:
        late = " after ExitBootServices had succeeded" if call.after_exit else ""
        yield call.line, Event("call", printable(f"call of the firmware's {call.what}{late}"), _line(call.line), call.after_exit)
    if picture.judged is not None and boot.plan:
        last = max([step.line for step in boot.plan])
        yield last, Event("switch", f"mov cr3 of {picture.judged.cpu.cr3:#x} is planned", _line(last))
    for fault in boot.faults:
        vector, error = fault.registers.get("vector"), fault.registers.get("error")
        what = "an exception" if vector is None else exceptions.describe(vector, error)
        yield fault.line, Event("exception", printable(f"{fault.by} reports {what}"), _line(fault.line), True)
    for check in boot.checks:
        outcome = "passed" if check.passed else "failed"
        yield check.line, Event("check", printable(f"check {check.name} {outcome} {check.detail}"), _line(check.line), not check.passed)


def _line(line: int) -> str:
    return f"line {line} of the capture" if line else ""


def _by(picture: Picture, caller: int, line: int) -> str:
    source = picture.attribution.line(caller) if picture.attribution else None
    return printable(source) if source else _line(line)


def _refusal(space: Space, step: Step, platform: Platform) -> PageFault | None:
    if not step.user and not step.implicit:
        return strike(space.tables, space.cpu, step, platform)
    found = access(space.tables, space.cpu, step.virt, step.kind, step.user, step.width, step.implicit, platform=platform)
    return found if isinstance(found, PageFault) else None


def _steps(picture: Picture | None) -> Iterator[Event]:
    """Each access that was judged, alone: as if those before it had gone through."""
    if picture is None:
        return
    space = picture.judged
    for number, step in enumerate(picture.steps[: limits.REPORT_STEPS]):
        fault = _refusal(space, step, picture.platform)
        name = step.name if isinstance(step.name, str) else role.text(step.name)
        what = f"step {number}, {name}: {step.kind.value} of {step.virt:#x}"
        if fault is None:
            yield Event("step", printable(f"{what} goes through"))
        else:
            why = f"{fault.reason.value}, {exceptions.describe(fault.vector, fault.error_code)}"
            yield Event("step", printable(f"{what} is refused: {why}"), "", True)
    if len(picture.steps) > limits.REPORT_STEPS:
        yield Event("step", f"and {len(picture.steps) - limits.REPORT_STEPS} more steps")


def deliveries(observation: Observation) -> Iterator[str]:
    """Yield the fatal event, or the first exception where no event is told of, then what followed; nothing where nothing was."""
    if observation.events:
        yield chain.title(observation.events[0].record)
    elif observation.first is not None:
        yield message.raised(observation.first)
    yield from chain.lines(observation)


def _seen(verdict: Verdict) -> Iterator[Event]:
    """What is foreseen, and what was seen to happen."""
    prediction, observation = verdict.prediction, verdict.observation
    if prediction is not None and prediction.first is not None:
        yield Event("foreseen", printable(message.raised(prediction.first)), "", True)
        for said in prediction.chain:
            yield Event("foreseen", printable(f"then {message.text(said)}"), "", True)
    if observation is None:
        return
    source = printable(observation.source)
    for number, words in enumerate(deliveries(observation)):
        yield Event("exception", printable(f"then {words}" if number else words), source, observation.ending is not None)
    ending = observation.ending.value if observation.ending else "ran"
    detail = f"; {message.plain(observation.detail)}" if observation.detail else ""
    yield Event("end", printable(f"{ending}{detail}"), source, observation.ending is not None)
