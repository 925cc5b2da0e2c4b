"""What all commands share: words in, one clear line for whatever goes wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.machine.qmp import QmpError
from cr3scope.render.table import WIDTH


class Command(gdb.Command):
    """A `cr3scope NAME`. Subclasses set ``name`` and ``usage`` and define ``run``."""

    name = ""
    usage = ""
    completion = gdb.COMPLETE_NONE

    def __init__(self) -> None:
        super().__init__(f"cr3scope {self.name}", gdb.COMMAND_DATA, self.completion)

    def run(self, words: list[str]) -> None:
        """Does it; may raise UnusableInput, QmpError, gdb.error and GdbError."""
        raise NotImplementedError

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Called by gdb."""
        self.dont_repeat()
        try:
            self.run(gdb.string_to_argv(argument))
        except gdb.GdbError:
            raise
        except KeyboardInterrupt:
            raise gdb.GdbError(f"cr3scope {self.name}: interrupted") from None
        except ModuleNotFoundError as error:
            raise gdb.GdbError(f"cr3scope {self.name}: gdb's Python has no {error.name}") from None
        except (UnusableInput, QmpError, gdb.error) as error:
            line = " ".join(str(error).split())
            raise gdb.GdbError(f"cr3scope {self.name}: {line}") from None

    def no_arguments(self, words: list[str]) -> None:
        """Refuses arguments."""
        if words:
            raise self.misused()

    def misused(self) -> gdb.GdbError:
        """The error of a command that was given the wrong words."""
        return gdb.GdbError(f"usage: cr3scope {self.name} {self.usage}".rstrip())


def address(word: str) -> int:
    """A number or any expression of gdb, as an unsigned address; of a function or an array its own."""
    try:
        value = gdb.parse_and_eval(word)
        if value.type.strip_typedefs().code in (gdb.TYPE_CODE_FUNC, gdb.TYPE_CODE_ARRAY):
            value = value.address
        return int(value) & (1 << 64) - 1
    except gdb.error as error:
        raise UnusableInput(f"{word}: no address: {error}") from error


def show(lines: Iterable[str]) -> None:
    """Prints; guest-controlled text must have been made safe already. Sentences are wrapped."""
    for line in lines:
        gdb.write(f"{_wrapped(line)}\n")


def _wrapped(line: str) -> str:
    """A block of lines, as tables come, stays as it is."""
    if len(line) <= WIDTH or "\n" in line:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
