"""gdb's own settings, changed for a moment and put back as the person had them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import gdb

# `-i mi`, `--interp=mi2`: gdb takes any unambiguous beginning of the long name, with one dash or two.
_INTERPRETER = re.compile(r"--?(?:i|int[erpt]*)(?:=(.*))?")


@contextmanager
def setting(name: str, value: str) -> Iterator[None]:
    """Set gdb's ``set NAME`` to ``value`` within the block."""
    before = gdb.parameter(name)
    words = {True: "on", False: "off"}.get(before, before) if isinstance(before, bool) else before
    # As strings: gdb warns of a language that is not the frame's.
    gdb.execute(f"set {name} {value}", to_string=True)
    try:
        yield
    finally:
        gdb.execute(f"set {name} {words}", to_string=True)


def in_c() -> AbstractContextManager[None]:
    """Let gdb read expressions as C within the block: other languages write neither 0x1000 nor a cast so."""
    return setting("language", "c")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep gdb from telling of stops within the block: the command says where the guest stands.

    What gdb says of signals is no notification to it, so it has no standard output meanwhile, but where a
    program listens there (gdb/MI).
    """
    with setting("suppress-cli-notifications", "on"):
        gdb.flush()
        kept = None if speaks_to_a_program(_command_line()) else os.dup(1)
        if kept is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.close(nowhere)
        try:
            yield
        finally:
            gdb.flush()
            if kept is not None:
                os.dup2(kept, 1)
                os.close(kept)


def speaks_to_a_program(words: tuple[str, ...]) -> bool:
    """Return whether gdb was started with these words as gdb/MI, or another interpreter that is no console."""
    for number, word in enumerate(words):
        match = _INTERPRETER.fullmatch(word)
        if match is not None:
            name = match[1] if match[1] is not None else "".join(words[number + 1 : number + 2])
            if name and not name.startswith(("console", "tui")):
                return True
    return False


@cache
def _command_line() -> tuple[str, ...]:
    return tuple(os.fsdecode(word) for word in Path("/proc/self/cmdline").read_bytes().split(b"\0"))
