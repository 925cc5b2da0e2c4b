"""Who reset a machine that had no triple fault: a watchdog, or code that chose to."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.rules.machine.bios_reset import on_reset
from cr3scope.input.logs.event import RegisterDump
from cr3scope.input.logs.observe import is_reset_of_firmware
from cr3scope.message import Hex, Message, message
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.cpu_state import RFLAGS_IF
from cr3scope.x86.word import QWORD

ASKED, UNTOLD = "the guest asked for a reset", "the guest reset, and nothing tells whether by a triple fault or because it asked for it"
BY_GUEST = "QEMU reports a reset by the guest"
_LOG_HEAD = 4 << 20
_FIRST_INTERRUPT = re.compile(rb"Servicing hardware INT[^$]{0,2000}?CR3=([0-9a-f]{8,16})")
_BIOS_DATE_AT, _BIOS_DATE = 0xFFFF_FFF5, re.compile(rb"\d\d/\d\d/\d\d")  # behind the jump at the reset vector, as the IBM PC had it
_STACK_BYTES = 8 << 10
_FRAME = 5 * QWORD  # RIP, CS, RFLAGS, RSP, SS (SDM 3A, 7.14.2)
_ALIGNED = 16
_CODE_BEFORE = 24
_INT3 = b"\xcc"
_OUT_IMMEDIATE, _OUT_DX = (0xE6, 0xE7), (0xEE, 0xEF)
_PORTS = {0x64: "the keyboard controller, port 64h", 0xCF9: "the reset control register, port CF9h",
          0x92: "port 92h"}  # fmt: skip


def reset_cause(cpu: StoppedCpu, log: Path, watchdog_action: str, is_untold: bool) -> Finding:
    """Return the finding on who reset the machine.

    ``watchdog_action``: what QEMU's watchdog device did, "" if it has not barked. ``is_untold``: a triple fault would not have been logged.
    """
    if watchdog_action:
        return BY_ID["watchdog-reset"].finding(
            message("the watchdog device ran out (action: {action})", action=watchdog_action),
            message("QEMU reports WATCHDOG; no exception before it. {stood}", stood=_stood(cpu)),
        )
    if cpu.in_long_mode and cpu.cpu.cr3 == firmware_cr3(log, cpu):
        place = _interrupted(cpu)
        if place is not None:
            watchdog = BY_ID["uefi-watchdog"].finding(
                message("the firmware's watchdog reset the machine: the loader was at RIP={rip}", rip=Hex(place)),
                Message("reset out of a timer interrupt's handler, under the firmware's own tables: boot"
                        " services had not been left"),
            )
            return replace(watchdog, severity=Severity.ERROR)
    if is_bios_reset(cpu):
        return on_reset(message("{stood}: an INT3, with an IDT whose limit is 0", stood=_stood(cpu)))
    port = reset_port(cpu)
    if is_untold and not port:
        return BY_ID["reset-untold"].finding(
            Message(UNTOLD), message(f"{BY_GUEST}, and logs no exceptions but under TCG; {{stood}}", stood=_stood(cpu))
        )
    asked = message(f"{ASKED} through {{port}}", port=port) if port else Message(ASKED)
    sign = "; the code before RIP writes there" if is_untold else " without a triple fault"
    return BY_ID["asked-for-reset"].finding(asked, message(f"{BY_GUEST}{sign}; {{stood}}", stood=_stood(cpu)))


def is_bios_reset(cpu: StoppedCpu) -> bool:
    """Return whether it stands at SeaBIOS's INT3 on an empty IDT."""
    if cpu.idt is None:
        return False
    seen = RegisterDump(linear=cpu.pc, cr0=cpu.registers.get("CR0", 0), cpl=cpu.registers.get("CPL"), idt=(cpu.idt.base, cpu.idt.limit))
    return is_reset_of_firmware(seen) and cpu.bytes_at(cpu.rip, 1) == _INT3


def _stood(cpu: StoppedCpu) -> Message:
    return message("CPU {cpu} was at RIP={rip}", cpu=cpu.number, rip=Hex(cpu.rip))


def firmware_cr3(log: Path, cpu: StoppedCpu) -> int | None:
    """Return under which tables the first interrupt came: before its DXE phase the firmware takes none. None without one, and
    where the firmware is a BIOS, which has none."""
    if _BIOS_DATE.fullmatch(cpu.physical(_BIOS_DATE_AT, 8)):
        return None
    try:
        with log.open("rb") as file:
            found = _FIRST_INTERRUPT.search(file.read(_LOG_HEAD))
    except OSError:
        return None
    return int(found[1], 16) if found else None


def _interrupted(cpu: StoppedCpu) -> int | None:
    """The code that an interrupt has left, if its frame is on the live stack."""
    rsp = cpu.registers.get("RSP", 0) & -QWORD
    stack = cpu.bytes_at(rsp, _STACK_BYTES)
    words = [
        int.from_bytes(stack[at : at + QWORD], "little") for at in range(0, len(stack) - 7, QWORD)
    ]
    code, data = cpu.selectors.get("CS"), cpu.selectors.get("SS")
    for number in range(len(words) - _FRAME // QWORD + 1):
        rip, cs, flags, old_rsp, ss = words[number : number + 5]
        end = rsp + QWORD * number + _FRAME
        if cs == code and ss == data and flags & RFLAGS_IF and flags >> 22 == 0:
            if end <= old_rsp < end + _ALIGNED and cpu.bytes_at(rip, 1):
                return rip
    return None


def reset_port(cpu: StoppedCpu) -> str:
    """Return to what that resets a machine the last `out` shortly before RIP writes; "" if there is none. A CPU runs on for a moment after it."""
    code = cpu.bytes_at(cpu.rip - _CODE_BEFORE, _CODE_BEFORE) if cpu.in_long_mode else b""
    for at in range(len(code) - 1, 0, -1):
        number = None
        if code[at] in _OUT_DX:
            number = cpu.registers.get("RDX", 0) & 0xFFFF
        elif code[at - 1] in _OUT_IMMEDIATE:
            number = code[at]
        if number in _PORTS:
            return _PORTS[number]
    return ""
