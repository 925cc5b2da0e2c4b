"""A guru meditation of VirtualBox, and the state of each virtual CPU at it (VMMGuruMeditation.cpp, CPUM.cpp)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cr3scope.input.logs.event import NO_DUMP, Event, RegisterDump, Shown, Stopped, TripleFault
from cr3scope.input.logs.log_format import last_bytes, last_places
from cr3scope.input.logs.logfile import LogFile
from cr3scope.x86.descriptors import DPL_SHIFT, RPL

_GURU = re.compile(rb"(?:VCPU(\d{1,4}): )?Guru Meditation (-?\d{1,6})(?: \((\w{1,64})\))?")
_TRIPLE_FAULT = b"1155"  # VINF_EM_TRIPLE_FAULT
_STATE = re.compile(rb"Guest CPUM \(VCPU (\d{1,4})\) state:")
_POWER_OFF = b"Guest state at power off"
_END = re.compile(rb"Guest CPUM \(VCPU|Hypervisor CPUM|Host CPUM|!! \{|(?:Guru Meditation)")
_STATE_BYTES = 16 << 10
_REGISTER = re.compile(
    rb"\b([er][abcd]x|[er][sd]i|[er][bs]p|[er]ip|r(?:8|9|1[0-5])|cr[0234]|[er]flags) {0,2}=([0-9a-f]{8,16})\b"
)
_TABLE = re.compile(rb"\b([gi])dtr=([0-9a-f]{8,16}):([0-9a-f]{4})\b")
_SEGMENT = re.compile(
    rb"\b(cs|ss|gs|tr) {0,2}=\{([0-9a-f]{4}) base=([0-9a-f]{8,16}) limit=([0-9a-f]{8}) flags=([0-9a-f]{8})\}"
)
_EFER = re.compile(rb"\bEFER {0,12}=([0-9a-f]{16})\b")
_LONG, _BIG = 1 << 13, 1 << 14  # in the flags of a segment; CPL is that of SS


def events_of_virtualbox(log: LogFile) -> Iterator[Event]:
    """Yield how VirtualBox gave the guest up, or its state."""
    start, data = last_bytes(log)
    states = [(match, _state(data, match)) for match in last_places(_STATE, data)]
    told: set[bytes] = set()
    for guru in last_places(_GURU, data):
        if guru[0] in told:
            continue
        told.add(guru[0])
        following = [(match, cpu) for match, cpu in states if match.start() > guru.end()]
        cpu = next((cpu for match, cpu in following if guru[1] in (None, match[1])), NO_DUMP)
        if guru[2] == _TRIPLE_FAULT:
            yield TripleFault(start + guru.start(), cpu=cpu, said=_whose(guru[1]))
        else:
            name = f" ({guru[3].decode('ascii')})" if guru[3] else ""
            words = f"VirtualBox gave the guest up: Guru Meditation {guru[2].decode('ascii')}{name}"
            whose = _whose(guru[1])
            yield Stopped(start + guru.start(), f"{words}, {whose}" if whose else words, cpu=cpu)
    if not told and states:
        match, cpu = next(((match, cpu) for match, cpu in states if cpu.rip is not None), states[0])
        off = data.find(_POWER_OFF) >= 0
        yield Shown(start + match.start(), cpu, "the guest when it was switched off:" if off else "the guest:")


def _whose(number: bytes | None) -> str:
    return f"of VCPU {int(number)}" if number else ""


def _state(data: bytes, head: re.Match[bytes]) -> RegisterDump:
    end = min(head.end() + _STATE_BYTES, len(data))
    following = _END.search(data, head.end(), end)
    text = data[head.end() : following.start() if following else end]
    registers = {match[1].decode("ascii").upper(): int(match[2], 16) for match in _REGISTER.finditer(text)}
    tables = {match[1]: (int(match[2], 16), int(match[3], 16)) for match in _TABLE.finditer(text)}
    segments = {match[1]: match for match in _SEGMENT.finditer(text)}
    efer = _EFER.search(text)
    code, stack, task, gs = (segments.get(name) for name in (b"cs", b"ss", b"tr", b"gs"))
    rip, flags = registers.get("RIP", registers.get("EIP")), registers.get("RFLAGS", registers.get("EFLAGS"))
    cr0 = registers.get("CR0")
    bits = None if code is None else _code_bits(int(code[5], 16), "RIP" in registers)
    base = 0 if bits == 64 else None if code is None else int(code[3], 16)
    return RegisterDump(
        rip=rip,
        rsp=registers.get("RSP", registers.get("ESP")),
        linear=None if rip is None or base is None else rip + base,
        flags=flags,
        cpl=int(stack[5], 16) >> DPL_SHIFT & RPL if stack and cr0 is not None and cr0 & 1 else None,
        cs=int(code[2], 16) if code else None,
        code_bits=bits,
        cr0=cr0,
        cr2=registers.get("CR2"),
        cr3=registers.get("CR3"),
        cr4=registers.get("CR4"),
        efer=int(efer[1], 16) if efer else None,
        idt=tables.get(b"i"),
        gdt=tables.get(b"g"),
        task=int(task[3], 16) if task else None,
        task_limit=int(task[4], 16) if task else None,
        gs_base=int(gs[3], 16) if gs else None,
        general=registers,
    )


def _code_bits(flags: int, in_long_mode: bool) -> int:
    """L counts in long mode alone, where the registers are written with 16 digits."""
    if flags & _LONG and in_long_mode:
        return 64
    return 32 if flags & _BIG else 16
