"""What a text that somebody calls a log has to say: of an emulator, or of the firmware on a serial port."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path

from cr3scope.errors import UnusableInput
from cr3scope.input.logs import formats
from cr3scope.input.logs.event import Event
from cr3scope.input.logs.int_log.record import RESET
from cr3scope.input.logs.log_format import Format, Story
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.stream import story_of

_CAPTURE = b"@c3s"
_END = 1 << 20
# What QEMU and kernels of other architectures write when an exception is taken, and QEMU when it dumps registers.
_ELSEWHERE = {
    "aarch64": (b"...from EL", b"...to EL", b"with ESR 0x", b" X30=", b"Internal error: Oops: 0000000096"),
    "arm (32-bit)": (b"Taking exception ", b"PSR="),
    "riscv": (b"riscv_cpu_do_interrupt:", b" mcause  ", b" scause  ", b"scause 0x", b"scause=", b"scause: ", b" mhartid  "),
    "mips": (b"mips_cpu_do_interrupt ", b"CP0 Status  0x"),
    "powerpc": (b"Raise exception at ", b"NIP 0", b"NIP c0", b"NIP [c0", b"NIP:  c0"),
    "s390x": (b"s390_cpu_do_interrupt", b"PSW=mask "),
    "loongarch": (b"loongarch_cpu_do_interrupt", b"CRMD="),
}
_DUMP_BYTES = 4 << 10  # behind the word of a reset, which QEMU writes whatever the architecture
_OF_X86 = b"IP="


def read_story(log: LogFile, cr3: int | None = None, is_told: Callable[[Event], bool] | None = None) -> Story:
    """Return what a log tells. ``cr3``: that of the switch, if a capture tells; ``is_told``: which events count, None for all.

    UnusableInput if it is no log.
    """
    if not log.size:
        raise UnusableInput(f"{log.name}: empty: QEMU wrote no interrupt log (-d int,cpu_reset)")
    found = formats_of(log)
    elsewhere = _reset_elsewhere(log) if len(found) == 1 else None
    if elsewhere is not None:
        raise UnusableInput(f"{log.name}: a log of {elsewhere}: cr3scope reads those of x86")
    if not found:
        raise UnusableInput(_refusal(log))
    return story_in(log, found, cr3, is_told)


def story_in(log: LogFile, found: Sequence[Format], cr3: int | None = None, is_told: Callable[[Event], bool] | None = None) -> Story:
    """Return what a log tells that is of all the formats ``found``; see above."""
    if len(found) == 1 and found[0].story is not None:
        return found[0].story(log, cr3)
    events = [event for one in found for event in one.events(log) if is_told is None or is_told(event)]
    events.sort(key=lambda event: event.offset)
    return story_of(events, cr3, " and ".join(one.source for one in found))


def formats_of(log: LogFile, may_guess: bool = True) -> list[Format]:
    """Return the formats whose signs stand in a log: issue texts hold several. Those that guess, where no other does.

    Of a log that is longer than any paste, the two ends tell; all of it is searched where these tell nothing. What guesses
    must have events, too: its signs are words of prose as well. ``may_guess``: whether such count.
    """
    end = _END if log.size <= 4 * _END else _END // 4
    ends = log.read(0, end) + b"\n" + log.read(max(log.size - end, end), end)
    ends = b"\n".join(set(ends.split(b"\n")))  # no sign has two lines, and most lines of a log stand in it often
    formats_known = [one for one in all_formats() if may_guess or not one.is_guess]
    known = [one for one in formats_known if any(sign in ends for sign in one.signs)]
    if all(one.is_guess for one in known) and log.size > 2 * _END:
        known = [one for one in formats_known if one.is_in(log)]
    certain = [one for one in known if not one.is_guess]
    return certain or [one for one in known if any(True for _ in one.events(log))]


def all_formats() -> Iterator[Format]:
    """Yield the ``FORMAT`` of each module in ``formats/``.

    Their order means nothing, unlike that of the rules: so the folder is the list.
    """
    for file in sorted(Path(formats.__path__[0]).glob("[a-z]*.py")):
        yield import_module(f"{formats.__name__}.{file.stem}").FORMAT


def _reset_elsewhere(log: LogFile) -> str | None:
    """The other architecture whose registers QEMU dumped at the first reset; None if that is x86, or there is none."""
    head = log.read(0, _END)
    dump = head[head.find(RESET) :][:_DUMP_BYTES] if RESET in head else b""
    if not dump or _OF_X86 in dump:
        return None
    return next((name for name, signs in _ELSEWHERE.items() if any(sign in dump for sign in signs)), None)


def _refusal(log: LogFile) -> str:
    if log.find(_CAPTURE) >= 0:
        return f"{log.name}: a capture, not a log: use `cr3scope analyze {log.name}`"
    other = next((name for name, signs in _ELSEWHERE.items() if any(log.find(sign) >= 0 for sign in signs)), None)
    if other is not None:
        return f"{log.name}: a log of {other}: cr3scope reads those of x86"
    return f"{log.name}: not a QEMU `-d int` log, nor anything else that is known (docs/any-guest.md)"
