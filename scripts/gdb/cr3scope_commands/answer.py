"""What gdb's own commands answer."""

from __future__ import annotations

import ast
import re

import gdb

# A stream record of gdb/MI: console, target or log output as a C string (gdb manual, "GDB/MI Stream Records").
_RECORD = re.compile(r'[~@&]("(?:[^"\\]|\\.)*")')


def answer(command: str) -> str:
    """Return what a command prints. Raises gdb.error as the command does.

    To a front end that speaks gdb/MI, gdb 18 also prints as MI records what Python asks for as a string.
    """
    text: str = gdb.execute(command, to_string=True)
    records = [_RECORD.fullmatch(line) for line in text.splitlines()]
    if not records or None in records:
        return text
    return "".join(_plain(record[1]) for record in records if record)


def _plain(word: str) -> str:
    """Return the text of a C string, whose octal escapes are bytes of UTF-8."""
    told: str = ast.literal_eval(word)
    return told.encode("latin-1", errors="replace").decode(errors="replace")
