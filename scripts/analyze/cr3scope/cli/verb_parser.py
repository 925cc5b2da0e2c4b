"""The parser of one verb: its words may come in any order, and behind `--` each is one, however it begins."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

_END = "--"
_WORD = "\0"  # before a word behind `--`, until it is taken: no argument of a process has that character


class VerbParser(argparse.ArgumentParser):
    """Takes options before, between and behind the words; argparse alone refuses an optional word behind an option, and
    forgets while it looks for one what stood behind `--`.

    A verb with a command line of its own behind `--` takes that as it is.
    """

    _is_within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse the words, as argparse does; return what it made of them, and those that it does not know."""
        has_command = any(action.nargs in (argparse.REMAINDER, argparse.PARSER) for action in self._get_positional_actions())
        if self._is_within or has_command:
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
    if _END not in words:
        return list(words)
    end = words.index(_END)
    return [*words[:end], *(f"{_WORD}{word}" for word in words[end + 1 :])]
