"""What a person names to listen at: a serial line, a socket, a pipe, or standard input."""

from __future__ import annotations

import os
import re
import stat
from enum import Enum

from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.numbers import decimal

STDIN = "-"
_LAST_PORT = 0xFFFF
_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.%\w]{1,64})\]|(?P<host>[^\s/:\[\]]{0,253})):(?P<port>[^:/]{0,20})")
_FORMS = "a serial device, HOST:PORT, a unix socket, a pipe, or - for standard input"


class Kind(Enum):
    """What the name leads to."""

    SERIAL = "serial line"
    TCP = "TCP port"
    UNIX = "unix socket"
    PIPE = "pipe"
    STDIN = "standard input"


@dataclass(frozen=True, slots=True)
class Source:
    """What to open. ``name`` is what messages call it; ``path`` is "" of a TCP port, ``host`` and ``port`` are of one alone."""

    kind: Kind
    name: str
    path: str = ""
    host: str = ""
    port: int = 0

    @property
    def comes_again(self) -> bool:
        """Return whether it can be opened anew once it has ended.

        Standard input cannot; the number of a pseudo terminal may next be somebody else's.
        """
        return self.kind is not Kind.STDIN and not (self.kind is Kind.SERIAL and self.path.startswith("/dev/pts/"))


def read_source(name: str, may_be_absent: bool = False) -> Source:
    """Return what ``name`` leads to. UnusableInput if to nothing that can be listened at.

    ``may_be_absent``: a path that is not there yet is taken for a serial device if it lies in ``/dev``, else for a unix socket.
    """
    if name == STDIN:
        return Source(Kind.STDIN, "standard input")
    scheme, colon, rest = name.partition(":")
    if colon and scheme == "unix" and rest:
        return Source(Kind.UNIX, name, rest)
    if colon and scheme == "tcp" and not os.path.exists(name):
        return _tcp(name, rest)
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        if _HOST_AND_PORT.fullmatch(name):
            return _tcp(name, name)
        if may_be_absent and "/" in name:
            return Source(Kind.SERIAL if name.startswith("/dev/") else Kind.UNIX, name, name)
        raise UnusableInput(f"{name}: no such device, socket or pipe, and not HOST:PORT{_others(name)}") from None
    except (OSError, ValueError) as error:  # a name with a NUL
        raise UnusableInput(f"{name}: {getattr(error, 'strerror', None) or error}") from error
    return _of_mode(name, mode)


def _of_mode(name: str, mode: int) -> Source:
    if stat.S_ISCHR(mode):
        return Source(Kind.SERIAL, name, name)
    if stat.S_ISSOCK(mode):
        return Source(Kind.UNIX, name, name)
    if stat.S_ISFIFO(mode):
        return Source(Kind.PIPE, name, name)
    if stat.S_ISREG(mode):
        raise UnusableInput(f"{name}: a file: `cr3scope analyze` judges it; one that grows: `tail -c +1 -f {name} | cr3scope listen -`")
    raise UnusableInput(f"{name}: a {'folder' if stat.S_ISDIR(mode) else 'block device'}: it takes {_FORMS}")


def _tcp(name: str, words: str) -> Source:
    found = _HOST_AND_PORT.fullmatch(words)
    if found is None:
        raise UnusableInput(f"{name}: not HOST:PORT")
    port = decimal(found["port"], _LAST_PORT)
    if not port:
        raise UnusableInput(f"{name}: {found['port']!r} is no port: 1 to {_LAST_PORT}")
    return Source(Kind.TCP, name, host=found["v6"] or found["host"] or "localhost", port=port)


def _others(name: str) -> str:
    """What else could have been meant, where a serial device was."""
    if not name.startswith("/dev/"):
        return ""
    try:
        from serial.tools.list_ports import comports

        known = sorted(one.device for one in comports())[:8]
    except (ImportError, OSError):
        return ""
    return f"; serial lines here: {', '.join(known)}" if known else "; no serial line is known here"
