"""A verdict as JSON: the contract ``cr3scope.verdict/1`` (fields are added, never renamed).

Addresses and entry values are hex strings, because JSON numbers lose bits over 2^53.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.observation import Observation
from cr3scope.diagnose.writer import Writer
from cr3scope.images.place import Place
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.event import InterruptRecord, Kind
from cr3scope.input.logs.happened import Happened
from cr3scope.input.logs.switched import Switch
from cr3scope.model.prediction import Prediction
from cr3scope.render import chain, message
from cr3scope.render import finding as words
from cr3scope.render.text import step_words
from cr3scope.verdict.types import BootOutcome, FaultWalk, Rehearsal, Verdict
from cr3scope.x86.access import EntryRef, Fault
from cr3scope.x86.ending import WITHOUT_EXCEPTION
from cr3scope.x86.exceptions import PAGE_FAULTS, page_fault_access
from cr3scope.x86.standing import Standing

if TYPE_CHECKING:  # what a log alone never needs: numpy
    from cr3scope.input.capture.records import RefusedRegister
    from cr3scope.model.rehearsed import RehearsedStep

SCHEMA = "cr3scope.verdict/1"


@dataclass(frozen=True, slots=True)
class HeardBoot:
    """Which of the boots that were heard at a console a verdict is on. ``total``: bytes that were heard; ``ended``: why it was judged."""

    number: int
    capture: str
    total: int
    seconds: float
    ended: str


def render(verdict: Verdict, is_indented: bool = True, heard: HeardBoot | None = None) -> str:
    """Return the verdict as one JSON document, with a final newline; not indented, it is one line.

    ``heard``: of a boot that was heard at a console, which one it is.
    """
    document = as_dict(verdict) | ({} if heard is None else {"heard": _heard(heard)})
    return json.dumps(document, indent=2 if is_indented else None) + "\n"


def _heard(boot: HeardBoot) -> dict[str, object]:
    seconds = round(boot.seconds, 3)
    return {"number": boot.number, "capture": boot.capture, "bytes": boot.total, "seconds": seconds, "ended": boot.ended}


def as_dict(verdict: Verdict) -> dict[str, object]:
    """Return the verdict as the plain values that the document holds."""
    return {
        "schema": SCHEMA,
        "verdict": verdict.status.value,
        "findings": [_finding(finding, verdict) for finding in verdict.findings],
        "prediction": _prediction(verdict.prediction),
        "observation": _observation(verdict.observation, verdict),
        "agreement": verdict.agreement,
        "diagnostics": [_diagnostic(diagnostic) for diagnostic in verdict.diagnostics],
        "walk": _walk(verdict.walk, verdict),
        "mended": _prediction(verdict.mended),
        "boots": [_boot(boot) for boot in verdict.boots],
        "path": [
            {"from": _hex(each.source), "to": _hex(each.target), "times": each.times, "from_place": each.places[0], "to_place": each.places[1]}
            for each in verdict.path
        ],
        "rehearsal": _rehearsal(verdict.rehearsal),
        "shaped": [{"what": each.what, "rip": _hex(each.rip), "place": each.place} for each in verdict.shaped],
    }


def _boot(boot: BootOutcome) -> dict[str, object]:
    return {"number": boot.number, "status": boot.status.value, "rule": boot.rule, "words": boot.words}


def _hex(value: int | None) -> str | None:
    return None if value is None else f"{value:#x}"


def _entry(entry: EntryRef | None, is_printed: bool = False) -> dict[str, object] | None:
    """``is_printed``: nobody knows where it lies."""
    if entry is None:
        return None
    return {
        "level": entry.level,
        "index": entry.index,
        "phys": None if is_printed else _hex(entry.phys),
        "value": _hex(entry.value),
    }


def _source_text(source: str | None, verdict: Verdict) -> str | None:
    """Null where the file could not be read."""
    found = verdict.source_texts.get(source or "")
    return found.text if found else None


def _finding(finding: Finding, verdict: Verdict) -> dict[str, object]:
    return {
        **words.plain(finding),
        "mends": words.mends(finding),
        "entry": _entry(finding.entry),
        "range": None if finding.range is None else [_hex(bound) for bound in finding.range],
        "source": finding.source,
        "source_text": _source_text(finding.source, verdict),
        "writer": _writer(finding.writer),
        "unwritten": finding.writer is not None and finding.writer.rip is None and not finding.writer.lost,
        "writers": [] if finding.writer is None else [_wrote(each) for each in (finding.writer, *finding.writer.others)],
        "step": finding.step,
        "also": [_finding(other, verdict) for other in finding.also],
    }


def _writer(writer: Writer | None) -> dict[str, object] | None:
    """Null where no code wrote it, too."""
    return None if writer is None or writer.rip is None else _wrote(writer)


def _wrote(writer: Writer) -> dict[str, object]:
    return {
        "rip": _hex(writer.rip), "place": writer.place, "old": _hex(writer.old), "new": _hex(writer.new),
        "callers": list(writer.callers), "phys": _hex(writer.phys), "what": writer.what or None, "part": writer.part.value,
        "cpu": writer.cpu, "when": writer.when.name.lower(), "instructions": writer.instructions, "lost": writer.lost or None,
    }  # fmt: skip


def _prediction(prediction: Prediction | None) -> dict[str, object] | None:
    if prediction is None:
        return None
    first = prediction.first
    return {
        "outcome": "survives" if prediction.survives else "fault",
        "step": step_words(prediction),
        "vector": first.vector if first else None,
        "error_code": first.error_code if first else None,
        "cr2": _hex(first.cr2) if first else None,
        "rip": _hex(first.rip) if first else None,
        "ends": prediction.ends.value if prediction.ends else None,
        "chain": [message.text(said) for said in prediction.chain],
        "step_number": prediction.number,
        "diverges": prediction.diverges,
        "diverges_words": message.text(prediction.diverges_words),
        "followed": message.text(prediction.followed) if prediction.followed else "",
    }


def _rehearsal(rehearsal: Rehearsal | None) -> dict[str, object] | None:
    """What the CPU itself said before the switch; null where nobody asked it."""
    if rehearsal is None:
        return None
    return {
        "state": rehearsal.end.value,
        "why": rehearsal.why,
        "refused": _register(rehearsal.refused),
        "agreement": rehearsal.agreement,
        "steps": [_rehearsed(step) for step in rehearsal.steps],
    }


def _register(refused: RefusedRegister | None) -> dict[str, object] | None:
    if refused is None:
        return None
    return {"register": refused.name, "value": _hex(refused.value), "vector": refused.vector, "error_code": refused.error}


def _rehearsed(tried: RehearsedStep) -> dict[str, object]:
    record, fault = tried.record, tried.fault
    outcome = "untried" if not record.is_tried or tried.interrupted else "ok" if fault is None else "fault"
    return {
        "step": record.step,
        "name": tried.step.name,
        "outcome": outcome,
        "vector": record.vector,
        "error_code": record.error,
        "cr2": _hex(fault.cr2) if fault else None,
        "virt": _hex(record.virt),
        "why": record.why,
        "agrees": tried.agrees,
    }


def _fault(fault: Fault | None) -> dict[str, object] | None:
    if fault is None:
        return None
    return {
        "vector": fault.vector,
        "error_code": fault.error_code,
        "cr2": _hex(fault.cr2),
        "rip": _hex(fault.rip),
        "cr3": _hex(fault.cr3),
    }


def _observation(observation: Observation | None, verdict: Verdict) -> dict[str, object] | None:
    if observation is None:
        return None
    return {
        "outcome": observation.ending.value if observation.ending else "ran",
        "first": _fault(observation.first),
        "fatal": _fatal(observation),
        "events": [_happened(each) for each in observation.events],
        "boots": observation.boots,
        "records": observation.records,
        "interrupts": observation.counted.interrupts if observation.counted else None,
        "source": observation.source,
        "detail": message.plain(observation.detail or ""),
        "chain": list(chain.lines(observation)),
        "standing": _standing(observation.standing),
        "switch": _switch(observation.switch),
        "cpu": message.plain(observation.cpu),
        "last": message.plain(observation.last),
        "places": [_place(place, verdict) for place in observation.places],
        "said": list(observation.said),
        "ended": observation.ended or None,
    }


def _fatal(observation: Observation) -> dict[str, object] | None:
    """What the guest did not survive."""
    if observation.ending is None or observation.ending in WITHOUT_EXCEPTION:
        return None
    dump, first = observation.dump, observation.first
    where = {"cr3": _hex(dump.cr3), "cpl": dump.cpl, "cpu": observation.cpu_number}
    if observation.events:
        record = observation.events[0].record
        return {**_record(record), **where, "access": record.access}
    if first is None:
        died = {"kind": None, "vector": None, "error_code": None, "cr2": _hex(dump.cr2), "rip": _hex(dump.rip)}
        return {**died, **where, "access": None}
    known = first.vector in PAGE_FAULTS and first.error_code is not None
    access = page_fault_access(first.error_code) if known and first.error_code is not None else None
    return {"kind": Kind.EXCEPTION.value, **(_fault(first) or {}), "cpl": None, "cpu": None, "access": access}


def _happened(happened: Happened) -> dict[str, object]:
    return {**_record(happened.record), "why": happened.why.value if happened.why else None}


def _record(record: InterruptRecord) -> dict[str, object]:
    fault = record.fault
    return {
        "kind": record.kind.value,
        "vector": fault.vector,
        "error_code": fault.error_code,
        "cr2": _hex(fault.cr2),
        "rip": _hex(fault.rip),
    }


def _switch(switch: Switch | None) -> dict[str, object] | None:
    if switch is None:
        return None
    return {"cr3": _hex(switch.cr3), "before": _hex(switch.before), "offset": switch.offset}


def _place(place: Place, verdict: Verdict) -> dict[str, object]:
    return {
        "name": place.name,
        "address": _hex(place.address),
        "symbol": place.symbol,
        "source": place.source,
        "source_text": _source_text(place.source, verdict),
        "image": place.image,
    }


def _standing(standing: Standing | None) -> dict[str, object] | None:
    if standing is None:
        return None
    return {
        "cpu": standing.cpu,
        "rip": _hex(standing.rip),
        "halted": standing.halted,
        "interrupts_on": standing.interrupts_on,
    }


def _walk(walk: FaultWalk | None, verdict: Verdict) -> dict[str, object] | None:
    if walk is None:
        return None
    return {
        "virt": _hex(walk.virt),
        "cr3": _hex(walk.cr3),
        "access": walk.access,
        "refused": walk.refused,
        "dump": walk.dump,
        "printed": walk.is_printed,
        "remark": walk.remark,
        "levels": [
            {"entry": _entry(each.entry, walk.is_printed), "guilty": each.is_guilty, "source": each.source,
             "source_text": _source_text(each.source, verdict)}
            for each in walk.levels
        ],  # fmt: skip
    }


def _diagnostic(diagnostic: Diagnostic) -> dict[str, object]:
    return {
        "message": message.plain(diagnostic.message),
        "line": diagnostic.line,
        "offset": diagnostic.offset,
    }
