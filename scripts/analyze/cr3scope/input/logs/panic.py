"""Where a kernel says on its console that it gives up: the words that it has for that, at the place of a line where it prints them.

The same words in the middle of a line are somebody's who speaks of a panic: a command line, a manual, a log that is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from cr3scope.input.logs.logfile import WINDOW, LogFile
from cr3scope.input.logs.signs import LINUX_DOUBLE, LINUX_EARLY, LINUX_PANIC, XEN_DOM0, XEN_LINE, XEN_PANIC, XEN_SPEAKS
from cr3scope.text import CONTROL

_SIGNS = (LINUX_PANIC.rstrip(), LINUX_EARLY, LINUX_DOUBLE, XEN_PANIC, XEN_DOM0)
_MOST_WORDS = 200
LONGEST_LEAD = 200  # bytes before the words on their line
_REACH = 1024  # bytes of both, and of a line between them
_WORDS = re.compile(
    rb"(?:%(linux)s {0,4}|(?P<xen>%(xen)s[0-9]{1,5}:(?P<next>\r?\n%(line)s)?)|(?P<dom0>(?=%(dom0)s))|(?=%(early)s|%(double)s))(?P<words>[^\r\n]{0,%(most)d})"
    % {
        b"linux": re.escape(LINUX_PANIC.rstrip()), b"xen": re.escape(XEN_PANIC), b"line": XEN_LINE, b"dom0": re.escape(XEN_DOM0),
        b"early": re.escape(LINUX_EARLY), b"double": re.escape(LINUX_DOUBLE), b"most": _MOST_WORDS,
    }
)  # fmt: skip
# A cursor that is put elsewhere begins another line for the reader.
_BREAK = re.compile(rb"[\r\n]|\x1b\[[0-9;]{0,32}[Hf]")
_STAMP = rb"\[[ 0-9.:TC]{1,40}\]"  # of printk, and whose it is
# What may stand before the words: a level, a stamp, the name of who speaks, colours. Linux says it once more behind a dash.
_LEAD = re.compile(rb"%s|<[0-9]{1,3}>|%s|%s|---\[ end |traps: |[ \t\0]" % (CONTROL.pattern, _STAMP, re.escape(XEN_SPEAKS)))
_AGAIN = b"]---"  # at the end of that line
_PROMPT = re.compile(rb"[^\r\n]{0,80}(?:[#$]|login:) ?%s ?" % _STAMP)  # nobody has ended its line
_UNENDED = re.compile(rb"[A-Za-z0-9](?:%s ?)?\Z" % _STAMP)  # of whom the kernel broke off: no blank, no quotation mark


class Panic(NamedTuple):
    """The place of the words, and what the kernel says in them; "" if it does not say why. ``end``: of their line, -1 while that goes on."""

    offset: int
    words: str
    end: int


def panics(text: bytes, begins_line: bool = True) -> Iterator[Panic]:
    """Yield each place of ``text`` where a kernel gives up. ``begins_line``: with its first byte a line begins."""
    if not any(sign in text for sign in _SIGNS):  # which is found out sooner
        return
    for match in _WORDS.finditer(text):
        lead = XEN_SPEAKS if match["xen"] is not None or match["dom0"] is not None else b""
        if stands_first(text, match.start(), begins_line, lead):
            goes_on = match["xen"] is not None and match["next"] is None
            end = -1 if goes_on else text.find(b"\n", match.end(), match.end() + _REACH)
            words = CONTROL.sub(b"", match["words"]).strip().removesuffix(_AGAIN)
            yield Panic(match.start(), words.decode(errors="replace").strip(), end)


def first_panic(log: LogFile) -> str | None:
    """Return the words in which a kernel first gives up in a console's text of any size; None if none does."""
    for start in range(0, log.size, WINDOW):
        first = max(start - LONGEST_LEAD - 1, 0)
        for found in panics(log.read(first, WINDOW + LONGEST_LEAD + _REACH), begins_line=not first):
            if first + found.offset >= start:
                return found.words
    return None


def stands_first(text: bytes, at: int, begins_line: bool = True, lead: bytes = b"") -> bool:
    """Return whether nothing stands on the line before ``at`` but what is put before each line of a kernel, ``lead`` among it.

    ``begins_line``: with the first byte of ``text`` a line begins.
    """
    first = max(at - LONGEST_LEAD, 0)
    lines = _BREAK.split(text[first:at])
    head = lines[-1]
    if lead not in head or (len(lines) == 1 and (first or not begins_line)):
        return False
    return not _LEAD.sub(b"", head) or _PROMPT.fullmatch(head) is not None or _UNENDED.search(head) is not None
