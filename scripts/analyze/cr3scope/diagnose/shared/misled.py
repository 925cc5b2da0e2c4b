"""Whether the CPU was sent to an address that is none: its bytes are text, or code."""

from __future__ import annotations

from cr3scope.input.logs.event import InterruptRecord
from cr3scope.message import Message, message
from cr3scope.paging.canonical import MOST_LEVELS, is_canonical

_LONG, _SHORT = 8, 4  # bytes of an address
_LEAST_TEXT = 6  # of eight bytes, the rest zeros: a string's end
# How functions begin that a compiler made.
_CODE = (
    (b"\x55\x48\x89\xe5", "push rbp; mov rbp, rsp"),
    (b"\xf3\x0f\x1e\xfa", "endbr64"),
    (b"\x48\x83\xec", "sub rsp, .."),
)


def misled(record: InterruptRecord) -> Message | None:
    """Return what RIP's bytes are, where the CPU was sent to them and they are no address; None otherwise."""
    rip = record.rip
    if rip is None or not record.is_exception:
        return None
    if record.cpu.in_long_mode and not is_canonical(rip, MOST_LEVELS):
        data = rip.to_bytes(_LONG, "little")
        code = next((words for sign, words in _CODE if sign in data), None)
        if code is not None:
            return message("code: {code}", code=code)
        return message('text: "{letters}"', letters=data.decode("ascii")) if _is_text(data) else None
    if record.access != "fetch" or record.cr2 != rip:
        return None
    data = rip.to_bytes(_LONG, "little").rstrip(b"\0")
    least = _SHORT if record.cpu.in_long_mode is False else _LEAST_TEXT
    return message('text: "{letters}"', letters=data.decode("ascii")) if len(data) >= least and _is_letters(data) else None


def _is_text(data: bytes) -> bool:
    return all(0x20 <= byte < 0x7F for byte in data)


def _is_letters(data: bytes) -> bool:
    return data.isascii() and data.isalpha()
