"""What is said on a console beside the records of a trace."""

from __future__ import annotations

import re

from cr3scope.input.capture.framing import RECORD_BYTES, SENTINEL
from cr3scope.input.firmware_words import boots_again_at

_RECORD = re.compile(re.escape(SENTINEL) + rb"[^\n@]{0,%d}#[0-9a-f]{8}\r?\n" % RECORD_BYTES)


def beside(text: bytes) -> bytes:
    """Return a text without its records: of a line that holds one, what comes before it. What tore a record stays."""
    return _RECORD.sub(b"\n", text)


def boots_beside(text: bytes) -> tuple[bytes, bytes]:
    """Return what is said beside the records of a boot, and what of that comes from where firmware speaks up again.

    ``text``: from the boot's first record on.
    """
    said = beside(text)
    end = boots_again_at(said)
    return (said, b"") if end is None else (said[:end], said[end:])


def behind(text: bytes) -> bytes:
    """Return what is said behind the last record of a boot, until firmware speaks up again."""
    _, _, rest = text[text.rfind(SENTINEL) :].partition(b"\n")
    return rest[: boots_again_at(rest)]
