"""What a guest printed last on its serial port."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cr3scope.input.logs.screen import SCREEN
from cr3scope.text import CONTROL, printable

MOST_LINES, MOST_CHARACTERS = 3, 200
_TAIL = 1 << 14
_SCREENFUL = 25  # lines
_LAST_LINES = 5
_GIVES_UP = re.compile(
    r"(?i:panic(?:ked)?\s*(?:[^\w\s]|at\b|on\b|in\b|$)|kernel[ _-]?panic|^\W*panic|\bfatal\b|\bassert(?:ion)?\b.{0,80}\bfail"
    r"|\bfailed assert|\bunrecoverable\b|\bcannot continue\b|\bunhandled\b|\boops\b)|PANIC"
)
_MAY_GIVE_UP = re.compile(r"panic|p[aá]ni[ck]|fatal|паник", re.IGNORECASE)
_MAY_HAVE_FAILED = re.compile(
    r"\berr(?:eur|ore)?s?\b|(?<!t)error|\bfail|\babort|\bexception\b|\bfault\b|\bcannot\b|\bcan't\b|\bunable\b|\bfehler|\bfallo\b|\berro\b|ошибк"
    r"|错误|錯誤|エラー|오류",
    re.IGNORECASE,
)
# Words of a kernel that is well: what is not there, what is set up, what a test is called that passed.
_HARMLESS = re.compile(
    r"\b(?:no|0|zero|without)\s(?:(?:kernel|cpu|page|fatal|unhandled|test|more)\s)?(?:panic|error|fail|fault|fatal|unhandled|exception|assert|abort|oops)(?:\w{0,8}\sexception)?"
    r"|\b(?:panic|exception|fault|error|abort|oops)s?[ _-](?:handler|handling|hook)s?\b(?! ?:)|\b(?:panic|oops)=\S*|\bpanic_on_\w+|\bshould_panic\b",
    re.IGNORECASE,
)
_PASSED = re.compile(r"(?<!not )\b(?:ok|passed)\W{0,8}$", re.IGNORECASE)
_PANIC = re.compile(r"\bpanic\b", re.IGNORECASE)
# How a kernel begins a line when it panics, behind a stamp or the name of a CPU; no quotation, and no name of a setting.
_BEGINS_TO_PANIC = re.compile(
    r"[^\w>#$\"'`]{0,40}(?:(?:[\w.-]{1,20}[^\w=\"'`]{1,8}){0,3}k?(?:kernel)?panic(?:ked)?\s{0,4}(?:[]:!*,](?=\W|$)|\s-\s|at\s)"
    r"|(?:[0-9.]{1,20}\W{1,8})?(?:kernel[ _-])?panic\W{0,40}$)",
    re.IGNORECASE,
)
# No speech of the guest: our own trace, and the firmware's boot manager.
_OTHERS = re.compile(r"@c3s[0-9]+ [0-9a-f]+ |^BdsDxe: ")


def gave_up_in_words(serial: bytes, screen: str) -> str:
    """Return the line, of the last ones on a guest's serial port or text screen, that says that it cannot go on; "" without."""
    return _line_with(_GIVES_UP, _last_lines(serial, screen, _SCREENFUL))


def panics_in_words(console: bytes) -> str:
    """Return the line, of the last ones beside a trace, that begins as kernels do that panic in words of their own; "" without."""
    lines = _spoken(console)[-_SCREENFUL:]
    return next((line[:MOST_CHARACTERS] for line in lines if not _PASSED.search(line) and _BEGINS_TO_PANIC.match(_HARMLESS.sub("", line))), "")


def may_have_failed_in_words(serial: bytes, screen: str) -> str:
    """Return the line, of the very last ones, that may say that a guest gave up, though not for certain; "" without."""
    very_last = _line_with(_MAY_HAVE_FAILED, _last_lines(serial, screen, _LAST_LINES))
    return very_last or _line_with(_MAY_GIVE_UP, _last_lines(serial, screen, _SCREENFUL))


def _line_with(pattern: re.Pattern[str], lines: Sequence[str]) -> str:
    return next((line[:MOST_CHARACTERS] for line in lines if not _PASSED.search(line) and pattern.search(_HARMLESS.sub("", line))), "")


def _last_lines(serial: bytes, screen: str, most: int) -> list[str]:
    shown = [printable(line.strip()) for line in screen.splitlines() if line.strip()]
    return [*_spoken(serial)[-most:], *shown[-most:]]


def last_words(serial: bytes) -> tuple[str, ...]:
    """Return the last lines that hold a letter or a digit, oldest first, made printable and cut.

    Of a kernel that says "panic", return that line and those around it: a list of addresses often comes last.
    """
    spoken = _spoken(serial)
    panics = (at for at, line in enumerate(spoken) if len(spoken) - at <= _SCREENFUL and _PANIC.search(line))
    last = spoken[-MOST_LINES:]
    for at in panics:
        last = spoken[max(at - 1, 0) :][:MOST_LINES]
    return tuple(line[:MOST_CHARACTERS] for line in last)


def _spoken(serial: bytes) -> list[str]:
    """The guest's own lines, as far back as matters."""
    # A cursor that is moved begins another line for the reader.
    guest = SCREEN.split(serial, 1)[0]  # what comes then is the firmware's
    text = CONTROL.sub(b"\n", guest[-_TAIL:]).decode(errors="replace").replace("\r", "\n")
    lines = [printable(line.strip()) for line in text.split("\n")]
    return [line for line in lines if any(map(str.isalnum, line)) and not _OTHERS.search(line)]
