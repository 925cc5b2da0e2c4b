"""The option ``--elf``: the same for every verb that prints symbols and source lines."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from cr3scope.images.elf_file import ElfFile
from cr3scope.numbers import hexadecimal

_HELP = (
    "ELF twin of a loaded image, for symbols and source lines (may be given more than once);"
    " BASE, in hex, is where it was loaded: needed of a relocatable file (a loader) if neither a"
    " capture, nor its mov cr3, nor (under `run`) the firmware's list of images tells it"
)


def add_elf_option(parser: argparse.ArgumentParser) -> None:
    """Add the option: ``arguments.elf`` is then a list of ElfFile."""
    parser.add_argument(
        "--elf", metavar="FILE[@BASE]", type=elf_file, action="append", default=[], help=_HELP
    )


def check_twins(files: Iterable[ElfFile]) -> None:
    """Read what a boot will need of the files. UnusableInput before it, not after it."""
    from cr3scope.images.elf_twin import ElfTwin  # reading ELF files is not every verb's matter

    for file in files:
        twin = ElfTwin(file.path)
        twin.check()
        for _ in twin.code():  # first: of a file that is cut, that tells it
            pass
        twin.declared_accesses()


def elf_file(words: str) -> ElfFile:
    """Return the file and its base that ``FILE[@BASE]`` names; a file whose own name has an @ is taken as it is."""
    name, at, base = words.rpartition("@")
    if not at or os.path.exists(words):
        return ElfFile(Path(words))
    value = hexadecimal(base)
    if not name or value is None:
        raise argparse.ArgumentTypeError(f"{words!r}: not FILE@BASE with a hexadecimal address")
    return ElfFile(Path(name), value)
