"""The state of a guest as the kernel below it dumps it: KVM's VMCS or VMCB, Xen's VMCS."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cr3scope.input.logs.event import Event, RegisterDump, Shown, Stopped
from cr3scope.input.logs.signs import VMCB, VMCS, XEN_SPEAKS
from cr3scope.input.logs.log_format import last_bytes, last_places
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.emulators.vectoring import entry_failure, vectored
from cr3scope.x86.cpu_state import CR0_PE, EFER_LMA
from cr3scope.x86.descriptors import DPL_SHIFT, RPL

_BEGIN = re.compile(re.escape(VMCS) + b"|" + re.escape(VMCB))
_ELSE = re.compile(rb"\*\*\* (?:Host|Control) State")
_BYTES = 6144
_BEFORE = 2048
_FAILURE = re.compile(rb"vm-?entry failure|VM-?[Ee]ntry failed|unexpected exit|[Uu]nhandled", re.IGNORECASE)
# Of a VMCS (Linux' vmx.c, Xen's vmcs.c): `CR0: actual=0x..`, `RSP = 0x..  RIP = 0x..`, `CS:   sel=0x.., attr=0x..`.
_ACTUAL = re.compile(rb"\bCR([04]): actual=0x([0-9a-f]{1,16})\b")
_VALUE = re.compile(rb"\b(CR3|RSP|RIP|RFLAGS|EFER) {0,2}= {0,8}0x([0-9a-f]{1,16})\b")
_SELECTOR = re.compile(
    rb"\b(CS|SS|TR|GS): {1,4}(?:sel=0x)?([0-9a-f]{4}),? (?:attr=0x)?([0-9a-f]{5}),? (?:limit=0x)?([0-9a-f]{8}),?"
    rb" (?:base=0x)?([0-9a-f]{16})\b"
)
_TABLE = re.compile(rb"\b([GI])DTR: {4,40}(?:limit=0x)?([0-9a-f]{8}),? (?:base=0x)?([0-9a-f]{16})\b")
_REASON = re.compile(rb"\breason=(?:0x)?([0-9a-f]{8})\b")
_VECTORING = re.compile(rb"\bIDTVectoring: info=(?:0x)?([0-9a-f]{8})\b")
# Of a VMCB (Linux' svm.c): `cr0:   .. cr2:   ..`, `cs:   s: 0008 a: 029b l: ffffffff b: ..`.
_FIELD = re.compile(rb"\b(cr[0234]|rip|rsp|rflags|efer|exit_code): {1,20}([0-9a-f]{8,16})\b")
_ROW = re.compile(
    rb"\b(cs|ss|tr|gs|gdtr|idtr): {1,4}s: ([0-9a-f]{4}) a: ([0-9a-f]{4}) l: ([0-9a-f]{8}) b: ([0-9a-f]{16})\b"
)
_CPL = re.compile(rb"\bcpl: {1,16}([0-3])\b")
_IN_VMCS, _IN_VMCB = (13, 14), (9, 10)  # where L and D/B are in a segment's attributes (SDM 3C, 25.4.1; APM 2, 15.5.1)


def events_of_vm_state(log: LogFile) -> Iterator[Event]:
    """Yield the states of guests that a kernel below dumped."""
    start, data = last_bytes(log)
    for begin in last_places(_BEGIN, data):
        following = _BEGIN.search(data, begin.end(), begin.end() + _BYTES)
        whole = data[begin.end() : following.start() if following else begin.end() + _BYTES]
        before = data[max(begin.start() - _BEFORE, 0) : begin.start()]
        place = start + begin.start()
        if begin[0] == VMCB:
            code = next((int(match[2], 16) for match in _FIELD.finditer(before) if match[1] == b"exit_code"), None)
            reason = "" if code is None else f" (exit code {code:#x}{entry_failure(code)})"
            yield Stopped(place, f"KVM could not go on with the guest and dumped its VMCB{reason}", cpu=_of_vmcb(whole))
            continue
        other = _ELSE.search(whole)
        cpu = _of_vmcs(whole[: other.start()] if other else whole)
        if XEN_SPEAKS in before + whole[:80] and not _FAILURE.search(before):  # Xen shows it when it is asked, too
            yield Shown(place, cpu, "the guest whose VMCS Xen shows:")
            continue
        yield _stopped(place, whole, cpu, "Xen" if XEN_SPEAKS in whole[:80] else "KVM")


def _stopped(place: int, text: bytes, cpu: RegisterDump, who: str) -> Stopped:
    reason, delivering = _REASON.search(text), _VECTORING.search(text)
    number = int(reason[1], 16) if reason else None
    words = f"{who} could not go on with the guest and dumped its VMCS"
    words += "" if number is None else f" (exit reason {number:#x}{entry_failure(number)})"
    event = vectored(int(delivering[1], 16)) if delivering else None
    if event is None:
        return Stopped(place, words, cpu=cpu)
    vector = event.vector if event.is_exception else None
    return Stopped(place, f"{words}, while {event.words} was delivered", vector, cpu)


def _of_vmcs(text: bytes) -> RegisterDump:
    values = {match[1]: int(match[2], 16) for match in reversed(list(_VALUE.finditer(text)))}
    values |= {b"CR" + match[1]: int(match[2], 16) for match in _ACTUAL.finditer(text)}
    segments = {match[1]: tuple(int(each, 16) for each in match.groups()[1:]) for match in _SELECTOR.finditer(text)}
    tables = {match[1]: (int(match[3], 16), int(match[2], 16)) for match in _TABLE.finditer(text)}
    return _dump(values, segments, tables.get(b"I"), tables.get(b"G"), _IN_VMCS)


def _of_vmcb(text: bytes) -> RegisterDump:
    values = {match[1].upper(): int(match[2], 16) for match in _FIELD.finditer(text)}
    rows = {match[1].upper(): tuple(int(each, 16) for each in match.groups()[1:]) for match in _ROW.finditer(text)}
    tables = {name: (row[3], row[2]) for name, row in rows.items()}
    cpl = _CPL.search(text)
    return _dump(values, rows, tables.get(b"IDTR"), tables.get(b"GDTR"), _IN_VMCB, int(cpl[1]) if cpl else None)


def _dump(
    values: dict[bytes, int], segments: dict[bytes, tuple[int, ...]], idt: tuple[int, int] | None,
    gdt: tuple[int, int] | None, bits: tuple[int, int], cpl: int | None = None,
) -> RegisterDump:  # fmt: skip
    """A segment is selector, attributes, limit and base."""
    code, stack, task, gs = (segments.get(name) for name in (b"CS", b"SS", b"TR", b"GS"))
    rip, cr0, efer = values.get(b"RIP"), values.get(b"CR0"), values.get(b"EFER")
    code_bits = None
    if code is not None:
        is_64 = bool(code[1] >> bits[0] & 1) and (efer is None or bool(efer & EFER_LMA))
        code_bits = 64 if is_64 else 32 if code[1] >> bits[1] & 1 else 16
    if cpl is None and stack is not None and cr0 is not None and cr0 & CR0_PE:
        cpl = stack[1] >> DPL_SHIFT & RPL
    base = 0 if code_bits == 64 else None if code is None else code[3]
    return RegisterDump(
        rip=rip, rsp=values.get(b"RSP"), linear=None if rip is None or base is None else rip + base,
        flags=values.get(b"RFLAGS"), cpl=cpl, cs=code[0] if code else None, code_bits=code_bits, cr0=cr0,
        cr2=values.get(b"CR2"), cr3=values.get(b"CR3"), cr4=values.get(b"CR4"), efer=efer, idt=idt, gdt=gdt,
        task=task[3] if task else None, task_limit=task[2] if task else None, gs_base=gs[3] if gs else None,
    )  # fmt: skip
