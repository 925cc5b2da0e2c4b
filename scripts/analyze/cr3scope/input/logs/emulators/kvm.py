"""KVM's refusals as QEMU prints them (its kvm-all.c; the numbers: Linux' arch/x86/kvm), with the registers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from cr3scope.input.logs.event import NO_DUMP, Event, RegisterDump, Stopped
from cr3scope.input.logs.log_format import last_bytes, last_places
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.emulators.qemu_dumps import dump_behind
from cr3scope.input.logs.emulators.vectoring import Vectored, entry_failure, vectored
from cr3scope.x86.entry import PAGE_OFFSET
from cr3scope.x86.exceptions import FRAME_REACH

_REFUSAL = re.compile(
    rb"KVM internal error\. Suberror: (?P<sub>\d{1,6})|KVM: entry failed, hardware error 0x(?P<entry>[0-9a-f]{1,16})"
    rb"|KVM: unknown exit, hardware reason (?:0x)?(?P<exit>[0-9a-f]{1,16})|error: kvm run failed (?P<run>[ -~]{1,60})"
)
_DATA = re.compile(rb"extra data\[(\d{1,2})\]: (?:0x)?([0-9a-f]{1,16})\b")
_CODE = re.compile(rb"\bCode=[0-9a-f ?]{0,200}(?:<|&lt;)([0-9a-f]{2})(?:>|&gt;)((?: [0-9a-f]{2}){0,7})")
_REFUSAL_BYTES = 2 << 10
_DUMP_REACH = 8192
_EMULATION, _SIMULTANEOUS, _DELIVERY, _UNKNOWN_EXIT = 1, 2, 3, 4
# Exit reasons of VMX (SDM 3D, appendix C); KVM makes its entries for devices misconfigured on purpose.
_TASK_SWITCH, _EPT_VIOLATION, _EPT_MISCONFIG, _MOST_REASONS = 0x9, 0x30, 0x31, 0x100


def events_of_kvm(log: LogFile) -> Iterator[Event]:
    """Yield KVM's refusals, in their order."""
    start, data = last_bytes(log)
    found: list[Stopped] = []
    for refusal in last_places(_REFUSAL, data):
        following = _REFUSAL.search(data, refusal.end(), refusal.end() + _REFUSAL_BYTES)
        end = following.start() if following else refusal.end() + _REFUSAL_BYTES
        cpu = dump_behind(data, refusal.start())
        numbers = {int(match[1]): int(match[2], 16) for match in _DATA.finditer(data, refusal.end(), end)}
        given = [numbers[index] for index in range(len(numbers)) if index in numbers]
        code = "" if cpu is NO_DUMP else _code(data, refusal.end())
        one = _stopped(start + refusal.start(), refusal, given, cpu, code)
        if found and found[-1].why.startswith(one.why) or cpu is NO_DUMP and one.why in {each.why for each in found}:
            continue  # once for each CPU, or said again
        if found and found[-1].cpu is NO_DUMP and one.why.startswith(found[-1].why):
            found.pop()
        found.append(one)
    yield from found


def _stopped(offset: int, refusal: re.Match[bytes], data: Sequence[int], cpu: RegisterDump, code: str) -> Stopped:
    if refusal["entry"]:
        number = int(refusal["entry"], 16)
        words = f"KVM could not enter the guest (hardware error {number:#x}{entry_failure(number)})"
        return Stopped(offset, words, cpu=cpu)
    if refusal["exit"]:
        number = int(refusal["exit"], 16)
        return Stopped(offset, f"KVM does not know the reason {number:#x} for which the guest stopped", cpu=cpu)
    if refusal["run"]:
        return Stopped(offset, f"KVM did not run the guest: `{refusal['run'].decode('ascii').strip()}`", cpu=cpu)
    kind = int(refusal["sub"])
    first = vectored(data[0]) if len(data) > 1 and data[0] != cpu.cr2 and data[1] < _MOST_REASONS else None
    if kind == _EMULATION:
        return Stopped(offset, f"KVM could not emulate an instruction{code}", cpu=cpu)
    if kind == _DELIVERY and first is not None:
        words = f"KVM gave up while {first.words} was delivered (Suberror 3)"
        return Stopped(offset, words + _touched(data, cpu), first.vector if first.is_exception else None, cpu)
    if kind == _DELIVERY:
        words = "KVM gave up while an event was delivered (Suberror 3), which the data do not tell for certain"
        return Stopped(offset, words, cpu=cpu)
    if kind == _SIMULTANEOUS:
        return Stopped(offset, f"KVM met two exceptions at once{_pair(data)} (Suberror 2)", cpu=cpu)
    if kind == _UNKNOWN_EXIT:
        which = f" {data[0]:#x}" if data else ""
        return Stopped(offset, f"the guest stopped for a reason{which} that KVM does not expect (Suberror 4)", cpu=cpu)
    return Stopped(offset, f"KVM internal error, Suberror {kind}", cpu=cpu)


def _pair(data: Sequence[int]) -> str:
    both: list[Vectored | None] = [vectored(each) for each in data[:2]]
    if len(both) < 2 or both[0] is None or both[1] is None:
        return ""
    return f": {both[1].words} while {both[0].words} was delivered"


def _touched(data: Sequence[int], cpu: RegisterDump) -> str:
    """What the delivery touched, by KVM's data: exit reason, its qualification, the guest-physical address."""
    reason = data[1]
    if reason == _TASK_SWITCH:
        return ": its gate is a task gate"
    if reason not in (_EPT_VIOLATION, _EPT_MISCONFIG):
        return f": exit reason {reason:#x}"
    if reason == _EPT_VIOLATION or len(data) < 4:
        return ": it touched memory that KVM does not map"
    words = f": it touched guest-physical {data[3]:#x}, where KVM has no RAM"
    below = None if cpu.rsp is None else (cpu.rsp - data[3]) & PAGE_OFFSET
    if below is not None and 0 < below <= FRAME_REACH:
        words += ", and by its place in the page may be the push to the stack below RSP"
        words += f"={cpu.rsp:#x}"
    return words


def _code(data: bytes, place: int) -> str:
    match = _CODE.search(data, place, place + _DUMP_REACH)
    return "" if match is None else f" ({(match[1] + match[2]).decode('ascii')} ..)"
