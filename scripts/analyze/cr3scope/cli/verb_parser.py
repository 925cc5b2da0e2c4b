"""The parser of one verb: its words may come in any order."""

from __future__ import annotations

import argparse
from typing import Any


class VerbParser(argparse.ArgumentParser):
    """Takes options before, between and behind the words; argparse alone refuses an optional word behind an option.

    A verb with a command line of its own behind `--` takes that as it is.
    """

    _is_within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        """Parse the words, as argparse does; return what it made of them, and those that it does not know."""
        has_command = any(action.nargs in (argparse.REMAINDER, argparse.PARSER) for action in self._get_positional_actions())
        if self._is_within or has_command:
            return super().parse_known_args(args, namespace)
        self._is_within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_within = False
