"""The parser of one verb: its words may come in any order, and behind `--` each is one, however it begins."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

END = "--"
_SHORT_OPTION = 2  # characters of a short option: what is glued on is its value
_WORD = "\0"  # before a word behind `--`, until it is taken: no argument of a process has that character


class VerbParser(argparse.ArgumentParser):
    """Takes options before, between and behind the words; argparse alone refuses an optional word behind an option, and
    forgets while it looks for one what stood behind `--`.

    A verb with a command line of its own behind `--` takes that as it is.
    """

    _is_within = False

    @property
    def has_command(self) -> bool:
        """Return whether the verb takes a command line of its own, which begins with the first word that is no option."""
        return any(action.nargs in (argparse.REMAINDER, argparse.PARSER) for action in self._get_positional_actions())

    def option_of(self, word: str) -> str | None:
        """Return the option that a word gives, by its whole name: the word may cut a long one, and hold its value; None if it gives none."""
        name, own = word.partition("=")[0], self._option_string_actions
        if name in own:
            return name
        if name.startswith(END) and name != END:
            long = [option for option in own if option.startswith(name)]
            return long[0] if len(long) == 1 else None
        short = word[:_SHORT_OPTION]
        return short if self.takes_value(short) else None

    def takes_value(self, option: str) -> bool:
        """Return whether an option of that whole name has a value."""
        action = self._option_string_actions.get(option)
        return action is not None and action.nargs != 0

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse the words, as argparse does; return what it made of them, and those that it does not know."""
        if self._is_within or self.has_command:
            return super().parse_known_args(args, namespace)
        self._is_within = True
        try:
            found, unknown = self.parse_known_intermixed_args(_kept(sys.argv[1:] if args is None else args), namespace)
            return found, [word.removeprefix(_WORD) for word in unknown]
        finally:
            self._is_within = False

    def error(self, message: str) -> NoReturn:
        """Print usage and what is wrong, and end with status 2."""
        super().error(message.replace(_WORD, ""))

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        return super()._get_value(action, arg_string.removeprefix(_WORD))


def _kept(words: Sequence[str]) -> list[str]:
    """The words, those behind `--` marked, and without it."""
    if END not in words:
        return list(words)
    end = words.index(END)
    return [*words[:end], *(f"{_WORD}{word}" for word in words[end + 1 :])]
