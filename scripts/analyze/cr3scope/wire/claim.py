"""A serial line that one listener has for himself: nobody else reads from it, and he leaves it as he found it."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import struct
import termios
from typing import Any

# Linux (include/uapi/asm-generic/ioctls.h, termbits.h); where they are others the question is refused, and nothing follows.
_TIOCGEXCL, _TIOCGPTN, _TCGETS2 = 0x80045440, 0x80045430, 0x802C542A
_INPUT_FLAGS = 0  # in what tcgetattr returns
_SETTINGS = struct.Struct("=36x2I")  # struct termios2, of which the last is the speed of what is sent


class Claim:
    """The right to a line, from its making to ``give_back``."""

    def __init__(self, path: str) -> None:
        """Take it. OSError if it cannot be opened: EBUSY where somebody else uses it, ENOTTY where it is no serial line."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _settings(self._descriptor)
            if _answer(self._descriptor, _TIOCGPTN) is not None:  # a new pseudo terminal: nobody speaks there
                raise _error(errno.ENOTTY)
            if _answer(self._descriptor, _TIOCGEXCL):  # which does not keep root out
                raise _error(errno.EBUSY)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._found = _settings(self._descriptor)  # nobody changes them any more
            self._read_breaks()
        except BaseException:
            os.close(self._descriptor)
            raise

    def speed(self) -> int | None:
        """Return the bits in a second that the driver has set, which need not be those that it was asked for; None if it does not tell."""
        try:
            told = fcntl.ioctl(self._descriptor, _TCGETS2, bytes(_SETTINGS.size))
        except OSError:
            return None
        return int(_SETTINGS.unpack(told)[1])

    def give_back(self) -> None:
        """Let others have it, with the settings that it had before."""
        with contextlib.suppress(OSError, termios.error):  # of a device that is gone
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._found)
        os.close(self._descriptor)

    def _read_breaks(self) -> None:
        """Let a break on the line, as of a machine that is turned on, be a byte, and not the end of all that came before it."""
        settings = list(self._found)
        settings[_INPUT_FLAGS] &= ~termios.BRKINT
        termios.tcsetattr(self._descriptor, termios.TCSANOW, settings)


def _settings(descriptor: int) -> list[Any]:
    try:
        return termios.tcgetattr(descriptor)
    except termios.error as error:
        raise _error(errno.ENOTTY) from error


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _answer(descriptor: int, question: int) -> int | None:
    number = array.array("i", [0])
    try:
        fcntl.ioctl(descriptor, question, number)
    except OSError:
        return None
    return number[0]
