"""The standard streams as a command gets them: closed, full, of eight bits, or with nobody at the other end."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

INPUT, OUTPUT, ERROR = 0, 1, 2
_ESCAPES = "backslashreplace"


class NotPrinted(OSError):
    """Standard output does not take what is printed: its disk is full, say."""


class _Output(io.FileIO):
    """Standard output, of which an error is told from those of other files."""

    def write(self, data: Any, /) -> Any:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise NotPrinted(error.errno, error.strerror) from error


def prepare() -> None:
    """Let no stream be missing, and no character be one that an encoding lacks.

    A file that is opened later would else take a closed stream's place. What is read from it, or written to it, fails.
    """
    for descriptor, mode in ((INPUT, os.O_WRONLY), (OUTPUT, os.O_RDONLY), (ERROR, os.O_RDONLY)):
        if _is_closed(descriptor):
            os.open(os.devnull, mode)  # it gets the lowest free number, which is this one
    if sys.stdin is None:
        sys.stdin = open(INPUT, closefd=False)
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        own = sys.stdout
        raw = io.BufferedWriter(_Output(OUTPUT, "w", closefd=False))
        sys.stdout = io.TextIOWrapper(
            raw, encoding=own.encoding if own else "utf-8", line_buffering=own is not None and own.isatty()
        )
    if sys.stderr is None:
        sys.stderr = open(ERROR, "w", encoding="utf-8", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=_ESCAPES)


def say(line: str) -> None:
    """Print a line on standard error, if that takes it: who does not listen changes no answer."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _silence(ERROR)


def settle() -> str | None:
    """Write what still waits to be printed; return why standard output does not take it, None if it does.

    BrokenPipeError if its reader went away. Nothing is left that could fail at the end of the process.
    """
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        _silence(ERROR)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(OUTPUT)
        raise
    except OSError as error:
        _silence(OUTPUT)
        return error.strerror or str(error)
    return None


@contextmanager
def silenced() -> Iterator[None]:
    """Let nothing that is printed within come out, by whatever way: also not by one that keeps the streams' descriptors for itself."""
    sys.stdout.flush()
    kept = {descriptor: os.dup(descriptor) for descriptor in (OUTPUT, ERROR)}
    try:
        for descriptor in kept:
            _silence(descriptor)
        with open(os.devnull, "w", encoding="utf-8", errors=_ESCAPES) as nowhere:
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
    finally:
        for descriptor, other in kept.items():
            os.dup2(other, descriptor)
            os.close(other)


def hang_up() -> None:
    """Print nothing more on standard output, not even at the end of the process: its reader went away."""
    _silence(OUTPUT)
    settle()


def _is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


def _silence(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
