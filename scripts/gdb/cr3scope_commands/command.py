"""What all commands share: words in, one clear line for whatever goes wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import ClassVar

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.qemu.qmp import QmpError
from cr3scope.render.table import WIDTH
from cr3scope.x86.word import MASK64
from cr3scope_commands.patience import patience, said


class Command(gdb.Command):
    """A `cr3scope NAME`. Subclasses set ``name`` and ``usage`` and define ``run``.

    For completion: ``options``, the ``values`` of each that takes one of a few, and ``completion`` for all
    other words, one of gdb's own kinds.
    """

    name = ""
    usage = ""
    options: tuple[str, ...] = ()
    values: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    completion = gdb.COMPLETE_NONE

    def __init__(self) -> None:
        # Without a kind: with one gdb would never ask `complete`.
        super().__init__(f"cr3scope {self.name}", gdb.COMMAND_DATA)

    def names(self, before: list[str], last: str) -> Iterable[str]:
        """Return words that may follow those ``before``, of which ``last`` is typed; may raise what ``run`` may."""
        return ()

    def complete(self, text: str, word: str | None) -> list[str] | int | None:
        """Return what may replace ``word``, the last part of ``text`` by gdb's own idea of words.

        Called by gdb; ``text`` is all that follows the command. gdb first asks with None for ``word``, only to learn
        what separates words (an exception then ends the completion with gdb 16).
        """
        if word is None:
            return None
        before, _, last = text.rpartition(" ")
        words = before.split()
        if last.startswith("-"):
            found: Iterable[str] = self.options
        elif words and words[-1] in self.values:
            found = self.values[words[-1]]
        else:
            try:
                found = list(self.names(words, last))
            except (UnusableInput, QmpError, gdb.error):
                found = ()
        skipped = len(last) - len(word)
        fitting = [one[skipped:] for one in found if one.lower().startswith(last.lower())]
        return fitting or self.completion

    def run(self, words: list[str]) -> None:
        """Do what the command is for; may raise UnusableInput, QmpError, gdb.error and GdbError."""
        raise NotImplementedError

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Run the command with gdb's arguments; called by gdb."""
        self.dont_repeat()
        had_target = gdb.selected_inferior().pid != 0
        try:
            with patience(self.name):
                self.run(gdb.string_to_argv(argument))
        except gdb.GdbError:
            raise
        except KeyboardInterrupt:
            raise gdb.GdbError(f"cr3scope {self.name}: interrupted") from None
        except ModuleNotFoundError as error:
            raise gdb.GdbError(f"cr3scope {self.name}: gdb's Python has no {error.name}") from None
        except (UnusableInput, QmpError, gdb.error) as error:
            line = " ".join(str(error).split())
            if had_target and gdb.selected_inferior().pid == 0:
                line = f"QEMU ended: {line}"
            raise gdb.GdbError(f"cr3scope {self.name}: {line}") from None

    def no_arguments(self, words: list[str]) -> None:
        """Refuse arguments."""
        if words:
            raise self.misused()

    def misused(self) -> gdb.GdbError:
        """Return the error of a command that was given the wrong words."""
        return gdb.GdbError(f"usage: cr3scope {self.name} {self.usage}".rstrip())


def address(word: str) -> int:
    """Return a number or any expression of gdb as an unsigned address; of a function or an array its own."""
    try:
        value = gdb.parse_and_eval(word)
        if value.type.strip_typedefs().code in (gdb.TYPE_CODE_FUNC, gdb.TYPE_CODE_ARRAY):
            value = value.address
        return int(value) & MASK64
    except gdb.error as error:
        raise UnusableInput(f"{word}: no address: {error}") from error


def show(lines: Iterable[str]) -> None:
    """Print lines; guest-controlled text must have been made safe already. Sentences are wrapped."""
    for line in lines:
        said()
        gdb.write(f"{_wrapped(line)}\n")


def _wrapped(line: str) -> str:
    """A block of lines, as tables come, stays as it is."""
    if len(line) <= WIDTH or "\n" in line:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
