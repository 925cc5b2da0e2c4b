"""What a text that somebody calls a log has to say: of an emulator, or of the firmware on a serial port."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from cr3scope.errors import UnusableInput
from cr3scope.input.logs import formats
from cr3scope.input.logs.log_format import Format, Story
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.screen import screen_report

_CAPTURE = b"@c3s"
_BEGINNING = 4096


def read_story(log: LogFile, cr3: int | None = None) -> Story:
    """Return what a log tells. ``cr3``: that of the switch, if a capture tells. UnusableInput if it is no log."""
    if not log.size:
        raise UnusableInput(f"{log.name}: empty: QEMU wrote no interrupt log (-d int,cpu_reset)")
    recognised = format_of(log)
    return _serial_story(log) if recognised is None else recognised.story(log, cr3)


def format_of(log: LogFile) -> Format | None:
    """Return the format that a log begins like, else one whose signs stand in it; None if it is of none."""
    beginning = log.read(0, _BEGINNING)
    known = list(all_formats())
    return next((one for one in known if one.begins(beginning)), None) or next(
        (one for one in known if one.is_in(log)), None
    )


def all_formats() -> Iterator[Format]:
    """Yield the ``FORMAT`` of each module in ``formats/``.

    Their order means nothing, unlike that of the rules: so the folder is the list.
    """
    for file in sorted(Path(formats.__path__[0]).glob("[a-z]*.py")):
        yield import_module(f"{formats.__name__}.{file.stem}").FORMAT


def _serial_story(log: LogFile) -> Story:
    shown = screen_report(log)
    if shown is not None:
        return Story(shown)
    if log.find(_CAPTURE) >= 0:
        raise UnusableInput(
            f"{log.name}: a capture, not a `-d int` log: use `cr3scope analyze {log.name}`"
        )
    raise UnusableInput(
        f"{log.name}: not a QEMU `-d int` log: it holds no interrupt record, and no exception screen"
        " of the firmware"
    )
