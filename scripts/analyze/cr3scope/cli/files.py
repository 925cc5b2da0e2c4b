"""``cr3scope files [NAME]``: where lies what comes with cr3scope, as its single header; or a copy of it."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.cli.outputs import folder
from cr3scope.errors import UnusableInput
from cr3scope.places import SHIPPED, Files, place_of, present
from cr3scope.text import printable

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_HELP = "tell where cr3scope.h, the examples, gdb's commands, the plugin's source and the schemas lie, or copy them"


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("files", help=_HELP, description=f"{_HELP.capitalize()}.")
    parser.add_argument("name", nargs="?", choices=[one.value for one in Files], metavar="NAME", help="header, examples, gdb, plugin or schemas")
    parser.add_argument("-o", "--output", metavar="DIR", type=folder, help="copy it there; what is there stays as it is")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print where the files are, or copy those that are named; return 0. UnusableInput if they are not there."""
    if arguments.name is None:
        if arguments.output is not None:
            raise UnusableInput(f"-o {arguments.output}: name what is to be copied: {', '.join(one.value for one in Files)}")
        for one in Files:
            path = place_of(one)
            print(f"{one.value:<9} {printable(str(path))}{'' if path.exists() else '  (not there)'}\n{'':<9} {SHIPPED[one].words}")
        return 0
    path = present(Files(arguments.name))
    if arguments.output is None:
        print(printable(str(path)))
        return 0
    origin = path.parent if path.suffix == ".py" else path  # the script is of no use without its commands
    print(f"wrote {printable(str(_copy(origin, arguments.output)))}")
    return 0


def _copy(source: Path, folder: Path) -> Path:
    """The copy, below a folder; UnusableInput if something of that name is there, or it cannot be written."""
    target = folder / source.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if target.exists() or target.is_symlink():
            raise UnusableInput(f"{target}: is there already, and stays as it is")
        if source.is_dir():
            shutil.copytree(source, target, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    except shutil.Error as error:  # of a folder: (from, to, why) for each file
        [(_, at, why), *_] = error.args[0]
        raise UnusableInput(f"{at}: {why}") from error
    except OSError as error:
        raise UnusableInput(f"{error.filename or target}: {error.strerror}") from error
    return target
