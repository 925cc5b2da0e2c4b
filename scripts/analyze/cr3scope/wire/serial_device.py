"""A real serial line, by pyserial: opened for one listener alone, with its speed, and what its driver says of losses."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import struct
import termios
from pathlib import Path
from typing import Any

from cr3scope.errors import UnusableInput
from cr3scope.numbers import decimal
from cr3scope.wire.claim import Claim
from cr3scope.wire.line import Absent, Line, refusal
from cr3scope.wire.source import Source

BAUD = 115200  # what the writers of the trace set (docs/real-machine.md)
_SPEED_TOLERANCE = 0.03  # of what the other end sends at: beyond that the last bit of a byte is another's
_NO_LIBRARY = "pyserial, with which serial lines are opened, is not installed: package python3-serial"
_LOCKS = ("/run/lock", "/var/lock")  # of other programs, by an old custom of Unix: LCK..ttyS0 holds a process number
_LAST_PROCESS = 1 << 22
# struct serial_icounter_struct of Linux (include/uapi/linux/serial.h): 11 counters and room for more.
_COUNTERS = struct.Struct("=20i")
_TIOCGICOUNT = 0x545D
_LOSSES = {6: "with a framing error (is --baud right?)", 7: "overrun in the port", 8: "with a parity error", 10: "overrun in the driver"}


class _SerialLine:
    def __init__(self, port: Any, claim: Claim) -> None:
        self._port, self._claim = port, claim
        self.descriptor: int = port.fileno()
        self._counted = self._count()

    def losses(self) -> list[str]:
        before, self._counted = self._counted, self._count()
        if before is None or self._counted is None:
            return []
        more = {words: self._counted[at] - before[at] for at, words in _LOSSES.items()}
        return [f"{count} bytes {words}" for words, count in more.items() if count > 0]

    def close(self) -> None:
        self._claim.give_back()
        with contextlib.suppress(OSError):  # of a device that is gone
            self._port.close()

    def _count(self) -> tuple[int, ...] | None:
        """What the driver counts; None of one that counts nothing, as a pseudo terminal."""
        try:
            return _COUNTERS.unpack(fcntl.ioctl(self.descriptor, _TIOCGICOUNT, bytes(_COUNTERS.size)))
        except OSError:
            return None


def open_serial(source: Source, baud: int | None) -> Line:
    """Open a serial line with 8 data bits, no parity and one stop bit, for this listener alone; see ``open_line``."""
    try:
        import serial
    except ImportError as error:
        raise UnusableInput(f"{source.name}: {_NO_LIBRARY}") from error
    _refuse_own_terminal(source)
    _refuse_locked(source)
    try:
        claim = Claim(source.path)
    except OSError as error:
        raise _refusal(source, error) from error
    try:
        return _SerialLine(_opened(source, serial, claim, BAUD if baud is None else baud), claim)
    except BaseException:
        claim.give_back()
        raise


def _opened(source: Source, serial: Any, claim: Claim, speed: int) -> Any:
    """The port of the library, with that speed and no other."""
    port = serial.Serial(baudrate=speed)
    port.port = source.path
    setattr(port, "_reset_input_buffer", lambda: None)  # what has come before is of the boot, too
    try:
        port.open()
    except serial.SerialException as error:
        raise _refusal(source, error) from error
    except (ValueError, OverflowError, OSError, termios.error) as error:  # of a speed that the driver has not
        raise UnusableInput(f"{source.name}: it does not take {speed} baud") from error
    is_set = claim.speed()
    if is_set is not None and abs(is_set - speed) > speed * _SPEED_TOLERANCE:
        with contextlib.suppress(OSError):
            port.close()
        raise UnusableInput(f"{source.name}: it does not take {speed} baud: it would listen at {is_set}")
    return port


def _refusal(source: Source, error: OSError) -> UnusableInput:
    if error.errno in (errno.EAGAIN, errno.EBUSY):
        return UnusableInput(f"{source.name}: somebody else listens at it: each would get half of what is said")
    if error.errno in (errno.EACCES, errno.EPERM):
        return UnusableInput(f"{source.name}: permission denied{_what_to_do(source)}")
    if error.errno is not None and error.errno not in (errno.ENOTTY, errno.EINVAL):
        strerror = os.strerror(error.errno)
        return refusal(source, OSError(error.errno, strerror))
    if not os.path.exists(source.path):
        return Absent(f"{source.name}: {os.strerror(errno.ENOENT)}")
    return UnusableInput(f"{source.name}: a device, but no serial line that could be set up")


def _what_to_do(source: Source) -> str:
    try:
        group = grp.getgrgid(os.stat(source.path).st_gid).gr_name
    except (OSError, KeyError):
        return ""
    if group == "root":
        return ": it belongs to root alone"
    return f": it belongs to the group {group}: `sudo usermod -aG {group} $USER`, then log in anew"


def _refuse_own_terminal(source: Source) -> None:
    """A terminal that is set up as a serial line takes no Ctrl-C any more."""
    with contextlib.suppress(OSError):
        there = os.stat(source.path).st_rdev
        for descriptor in (0, 1, 2):
            if os.isatty(descriptor) and os.fstat(descriptor).st_rdev == there:
                raise UnusableInput(f"{source.name}: this terminal itself: it takes the one at the end of the cable")
    if os.path.realpath(source.path) == "/dev/tty":
        raise UnusableInput(f"{source.name}: this terminal itself: it takes the one at the end of the cable")


def _refuse_locked(source: Source) -> None:
    """Programs that know nothing of flock(2) leave a file while they use a line."""
    name = Path(os.path.realpath(source.path)).name
    for folder in _LOCKS:
        try:
            words = (Path(folder) / f"LCK..{name}").read_bytes()[:64]
        except OSError:
            continue
        process = decimal(words.decode(errors="replace").split()[0] if words.split() else "", _LAST_PROCESS)
        if process and Path(f"/proc/{process}").exists():
            raise UnusableInput(f"{source.name}: process {process} uses it ({folder}/LCK..{name})")
