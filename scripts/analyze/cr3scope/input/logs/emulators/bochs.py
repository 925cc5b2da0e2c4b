"""The log of Bochs, and what it writes on its console (its logio.cc, cpu/exception.cc, versions 2.2 to 3.0).

It logs exceptions if it was told to debug alone; else only complaints of its CPU: what is wrong with a descriptor, why
a delivery failed. Those of one instruction bear the same time. A triple fault is ``3rd (13) exception with no
resolution``, behind a register dump.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cr3scope.dataclass import dataclass
from cr3scope.input.logs.emulators.bochs_dump import read_bochs_dump
from cr3scope.input.logs.event import NO_DUMP, Event, InterruptRecord, Kind, RegisterDump, Shown, Stopped, TripleFault
from cr3scope.input.logs.signs import BOCHS_PANIC
from cr3scope.input.logs.log_format import last_bytes
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.why import Why
from cr3scope.x86.exceptions import (
    CONTRIBUTORY,
    DOUBLE_FAULT,
    FIRST_INTERRUPT,
    NOT_PRESENT,
    PAGE_FAULT,
    PAGE_FAULTS,
    PROTECTION,
)

_LINE = re.compile(rb"(?:\b(\d{5,20})-?([a-z]))?\[(\w{1,6}) {0,5}\](?:([a-z])\|)? ([^\n]{1,300})")
_CPU = re.compile(rb"CPU\d{0,3}$")
_DEATH = re.compile(rb"exception\(\): (?:3rd (?:\((\d{1,2})\) )?exception with no resolution|tripple fault)")
_SWITCHED_OFF = (b"POWER button", b"Quit", b"quit")
_DUMP = re.compile(rb"CPU is in |(?:protected|real|long|compatibility|v8086) mode\b")
_STANDS = re.compile(  # what the debugger writes when it stops
    rb"\(\d{1,3}\)\.\[(\d{1,20})\] (?:\[0x[0-9a-f]{8,16}\] )?([0-9a-f]{4}):([0-9a-f]{4,16}) "
)
_BLAME = re.compile(
    rb"(?:interrupt|int_trap_gate)\((?:long mode|real mode)?\):? |check_cs\(|fetch_raw_descriptor|load_seg_reg"
    rb"|(?:read|write|execute)_virtual|branch_far|fetch_ss_descriptor|get_SS_ESP_from_TSS|(?:jump|call|return)_protected"
)
_FAILED = re.compile(rb"(?:interrupt|int_trap_gate)\((?:long mode)?\): ?(.*)")
_VECTOR = re.compile(rb"\(vector=0x([0-9a-f]{2})\)")
_LIMIT = re.compile(rb"IDT\.limit = (?:0x)?([0-9a-f]{1,4})\b")
_REASONS = (
    (b"within IDT table limits", Why.BEYOND_IDT),
    (b"gate not present", Why.GATE_NOT_PRESENT),
    (b"gate.p == 0", Why.GATE_NOT_PRESENT),
    (b"not valid sys seg", Why.GATE_BAD),
    (b"gate.type(", Why.GATE_BAD),
    (b"unsupported gate type", Why.GATE_BAD),
    (b"DWORD4 TYPE", Why.GATE_BAD),
    (b"selector null", Why.NULL_SELECTOR),
    (b"segment not present", Why.SEGMENT_NOT_PRESENT),
    (b"not accessible or not code segment", Why.BAD_SELECTOR),
    (b"must be 64 bit segment", Why.BAD_SELECTOR),
    (b"TSS selector points to", Why.NO_TSS),
)
_RAISED = re.compile(rb"exception\(0x([0-9a-f]{2})\): error_code=([0-9a-f]{4})")
_TAKEN = re.compile(rb"interrupt\(\): vector = ([0-9a-f]{2}), (?:TYPE = ([0-9])|INT = ([01]))")
_KINDS = {b"0": Kind.INTERRUPT, b"2": Kind.INTERRUPT, b"4": Kind.INT, b"5": Kind.INT, b"6": Kind.INT}  # by TYPE
_NOT_BEGUN = (0, 0xFFF0)  # EIP until the first instruction was executed
_OF_A_GATE = 2  # failed deliveries of an exception that makes a double fault: its own, and that of the double fault
_MOST_QUOTES = 4
_MOST_ENDS = 64
_NEAR = 60  # lines before a death: a dump has 30
_LONGEST_LINE = 300
_DUMP_BYTES = 6144


@dataclass(frozen=True, slots=True)
class _Line:
    offset: int
    time: bytes
    level: bytes  # d, i, e, p: from a debugging message to a panic
    device: bytes
    text: bytes

    @property
    def is_of_cpu(self) -> bool:
        return bool(_CPU.match(self.device))


def events_of_bochs(log: LogFile) -> Iterator[Event]:
    """Yield the exceptions and the end of which a log of Bochs tells."""
    start, data = last_bytes(log)
    lines = [
        _Line(match.start(), match[1] or b"", match[2] or match[4] or b"", match[3], match[5].rstrip())
        for match in _LINE.finditer(data)
    ]
    found: list[Event] = []
    done = 0
    for index in deque((index for index, line in enumerate(lines) if _is_end(line)), maxlen=_MOST_ENDS):
        line = lines[index]
        before = _same_moment(lines[max(index - _NEAR, done) : index], line)
        cpu = _dump_of(data, before)
        if cpu.rip is None:  # some versions write it behind a panic
            cpu = _dump_of(data, _same_moment(lines[index : index + _NEAR], line))
        if cpu.rip is None:
            cpu = _standing(data, line)
        death = _DEATH.search(line.text) if line.is_of_cpu else None
        if death is not None:
            found += _dead(before, line, int(death[1]) if death[1] else None, cpu)
        else:
            sign = next(sign for sign in BOCHS_PANIC if line.text.startswith(sign))
            words = line.text.removeprefix(sign).strip().decode("ascii", "replace")
            why = f"Bochs gave up ({line.device.decode('ascii')}): `{words}`"
            if not line.is_of_cpu and cpu.rip in _NOT_BEGUN:
                found.append(Shown(line.offset, cpu, f"{why}, before the guest ran:"))
            elif why not in [event.why for event in found if isinstance(event, Stopped)]:  # the console says it once more
                found.append(Stopped(line.offset, why, cpu=cpu))
        done = index + 1
    if not found:
        shown = _dump_of(data, lines)
        if shown.rip is not None:
            found.append(Shown(lines[-1].offset, shown, "the last registers that Bochs wrote:"))
    yield from (replace(event, offset=start + event.offset) for event in found)


def _is_end(line: _Line) -> bool:
    """Whether Bochs gives the guest up here; not if its user did."""
    if line.is_of_cpu and _DEATH.search(line.text):
        return True
    return line.text.startswith(BOCHS_PANIC) and not any(word in line.text for word in _SWITCHED_OFF)


def _same_moment(lines: Sequence[_Line], moment: _Line) -> list[_Line]:
    """The lines of the time of ``moment``; all of a log without times."""
    return [line for line in lines if line.time == moment.time]


def _dump_of(data: bytes, lines: Sequence[_Line]) -> RegisterDump:
    """The last dump in the lines."""
    start = next((line for line in reversed(lines) if _DUMP.match(line.text)), None)
    if start is None:
        return NO_DUMP
    return read_bochs_dump(data[start.offset : min(lines[-1].offset + _LONGEST_LINE, start.offset + _DUMP_BYTES)])


def _standing(data: bytes, line: _Line) -> RegisterDump:
    """Where the debugger stopped at the time of a line, of which no dump is left."""
    for match in _STANDS.finditer(data, max(line.offset - _DUMP_BYTES, 0), line.offset + _DUMP_BYTES):
        if line.time and int(match[1]) == int(line.time):
            return RegisterDump(rip=int(match[3], 16), cs=int(match[2], 16))
    return NO_DUMP


def _dead(before: Sequence[_Line], line: _Line, struck: int | None, cpu: RegisterDump) -> Iterator[Event]:
    """The triple fault, with the exceptions before it as far as the complaints tell which they were."""
    of_cpu = [each for each in before if each.device == line.device]
    blames = [each for each in of_cpu if each.level == b"e" or _BLAME.match(each.text) and not _TAKEN.match(each.text)]
    failed = [each for each in blames if _FAILED.match(each.text)]
    said = _quoted(blames)
    raised_ones = _raised(of_cpu, struck, cpu, said)
    if raised_ones:
        yield from raised_ones
        yield TripleFault(line.offset, struck, cpu)
        return
    first = _VECTOR.search(failed[0].text) if len(failed) == _OF_A_GATE else None
    vector = int(first[1], 16) if first else None
    if vector is None or vector not in CONTRIBUTORY | PAGE_FAULTS:
        yield TripleFault(line.offset, struck, cpu, _why(failed[0].text) if failed else None, said)
        return
    own = replace(cpu, cr2=None) if vector == PAGE_FAULT and struck == PAGE_FAULT else cpu
    reason = _why(failed[0].text)
    raised = NOT_PRESENT if reason in (Why.GATE_NOT_PRESENT, Why.SEGMENT_NOT_PRESENT) else PROTECTION
    yield InterruptRecord(failed[0].offset, 0, vector, None, own, why=reason, said=said)
    yield InterruptRecord(failed[1].offset, 1, DOUBLE_FAULT, 0, cpu, vector, raised, why=_why(failed[1].text))
    yield TripleFault(line.offset, struck, cpu)


def _raised(lines: Sequence[_Line], struck: int | None, cpu: RegisterDump, said: str) -> list[InterruptRecord]:
    """The chain of a log that was told to debug: each event that was taken, with the reason why its delivery failed."""
    found: list[InterruptRecord] = []
    error: dict[int, int] = {}
    last: int | None = None  # what was raised last
    for line in lines:
        raised, taken = _RAISED.match(line.text), _TAKEN.match(line.text)
        if raised is not None:
            vector = int(raised[1], 16)
            error[vector] = int(raised[2], 16)
            if vector == DOUBLE_FAULT and found:
                old = found[-1].vector
                found.append(InterruptRecord(line.offset, len(found), vector, 0, cpu, old, last))
            last = vector
        elif taken is not None:
            vector, kind = int(taken[1], 16), _kind(taken)
            if found and found[-1].vector == vector == DOUBLE_FAULT:
                continue
            own = replace(cpu, cr2=None) if vector == struck == PAGE_FAULT else cpu
            code = error.get(vector) if kind is Kind.EXCEPTION else None
            words = "" if found else said
            found.append(InterruptRecord(line.offset, len(found), vector, code, own, kind=kind, said=words))
        elif found and _FAILED.match(line.text) and found[-1].why is None:
            found[-1] = replace(found[-1], why=_why(line.text))
    return found


def _kind(taken: re.Match[bytes]) -> Kind:
    if taken[2]:
        return _KINDS.get(taken[2], Kind.EXCEPTION)
    vector = int(taken[1], 16)
    return Kind.INT if taken[3] == b"1" else Kind.INTERRUPT if vector >= FIRST_INTERRUPT else Kind.EXCEPTION


def _why(text: bytes) -> Why | None:
    """The reason that a complaint states. An IDT with a limit of 0 holds no gate at all."""
    reason = next((why for words, why in _REASONS if words in text), None)
    limit = _LIMIT.search(text)
    return Why.NO_IDT if reason is Why.BEYOND_IDT and limit and not int(limit[1], 16) else reason


def _quoted(blames: Sequence[_Line]) -> str:
    quotes = list(dict.fromkeys(each.text.decode("ascii", "replace") for each in blames))[:_MOST_QUOTES]
    return "Bochs says: " + ", ".join(f"`{quote}`" for quote in quotes) if quotes else ""
