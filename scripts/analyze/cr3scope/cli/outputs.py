"""Options that name a file to be written: ``-`` is standard output, which then holds nothing else; a folder is never that."""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from cr3scope.errors import UnusableInput
from cr3scope.images.elf_file import ElfFile
from cr3scope.render.output_file import STDOUT, write_asked
from cr3scope.text import printable

# All of them, of all verbs, as the words behind `--`; each verb has some.
OUTPUTS = ("json", "html", "junit", "sarif", "markdown", "codequality", "report")
_BESIDE = ("github", "lines")  # what is printed beside the text
_PARTS = re.compile("[=,]")  # of a word of QEMU's, as file=disk.img,format=raw
_TEXT = "text"  # of --format, which is told in other forms too


def add_output(parser: argparse.ArgumentParser | argparse._ArgumentGroup, name: str, words: str) -> None:
    """Add an option for a file; ``name`` is one of :data:`OUTPUTS`, ``words`` say what is written, as "write .. as JSON"."""
    parser.add_argument(f"--{name}", metavar="FILE", help=f"{words}; - for stdout")


def folder(text: str) -> Path:
    """Return the folder that an option names; ArgumentTypeError of ``-``."""
    if text == STDOUT:
        raise argparse.ArgumentTypeError("a folder, which standard output is not (./- is one of that name)")
    return Path(text)


def takes_stdout(arguments: argparse.Namespace) -> str | None:
    """Return the option to whose form alone standard output belongs; None if the text goes there."""
    return next((name for name in OUTPUTS if getattr(arguments, name, None) == STDOUT), None)


def check_outputs(arguments: argparse.Namespace) -> None:
    """Raise UnusableInput, before any work, if two forms are to go to the same place, or one to that of a file that is read."""
    places: dict[str, str] = {}
    for name in OUTPUTS:
        target = getattr(arguments, name, None)
        if target is None or target.startswith("/dev/"):
            continue
        other = places.setdefault(target if target == STDOUT else os.path.abspath(target), name)
        if other != name:
            raise UnusableInput(f"--{other} and --{name}: both to {'standard output' if target == STDOUT else printable(target)}")
        there = None if target == STDOUT else _file(target, is_followed=False)  # a link is replaced, what it leads to stays
        if there is not None and there in map(_file, _read(arguments)):
            raise UnusableInput(f"--{name} {target}: that file is read, and would be gone: name another")
    only = takes_stdout(arguments)
    more = [f"--{name}" for name in _BESIDE if getattr(arguments, name, False)]
    form = getattr(arguments, "format", _TEXT)
    more += [] if form == _TEXT else [f"--format {form}"]
    if only is not None and more:
        raise UnusableInput(f"--{only} - and {more[0]}: both to standard output")


def _read(arguments: argparse.Namespace) -> Iterator[str]:
    """All words that may name a file that is read: whatever names none, or is written, does no harm here."""
    for name, value in vars(arguments).items():
        for one in () if name in OUTPUTS else value if isinstance(value, list) else (value,):
            if isinstance(one, ElfFile):
                yield str(one.path)
            elif isinstance(one, (str, Path)):
                yield from {str(one), *_PARTS.split(str(one))}


def _file(path: str, is_followed: bool = True) -> tuple[int, int] | None:
    """Which file is there, by its own name or at the end of a link; None if none is."""
    try:
        there = os.stat(path, follow_symlinks=is_followed)
    except (OSError, ValueError):
        return None
    return (there.st_dev, there.st_ino) if stat.S_ISREG(there.st_mode) else None


def write(target: str, content: str) -> list[str]:
    """Write a form to where it was asked for; return what went wrong with a file, if anything."""
    if target == STDOUT:
        sys.stdout.write(content)
        return []
    try:
        write_asked(Path(target).absolute(), [content.encode(errors="backslashreplace")])
    except OSError as error:
        return [f"{target}: {error.strerror}"]
    return []
