"""What a bug report may tell of a machine and a command line: what is known to be the project's own. All else is left out.

To look for secrets and hide them would need to know them all.
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterator, Mapping, Sequence
from encodings.aliases import aliases

from cr3scope.cli.main import VERBS, parser_of
from cr3scope.cli.settings import SETTINGS
from cr3scope.cli.verb_parser import END

LEFT_OUT = "[...]"


def told_command(words: Sequence[str]) -> str:
    """Return the verb, the options that it knows, and how many words there are beside them."""
    verb, *others = words
    options = list(_options(verb, others)) if verb in VERBS else []
    return f"{' '.join([verb if verb in VERBS else LEFT_OUT, *options])}, with {len(others) - len(options)} more words"


def told_settings(environment: Mapping[str, str]) -> str:
    """Return which of the project's own variables are set: names, not values."""
    return ", ".join(name for name in SETTINGS if name in environment) or "none"


def told_encoding(name: str | None) -> str:
    """Return the name of an encoding as Python calls it."""
    try:
        own = codecs.lookup(name or "").name
    except (LookupError, ValueError):
        return LEFT_OUT
    return own if own.replace("-", "_") in {*aliases, *aliases.values()} else LEFT_OUT


def told_name(name: str, known: Collection[str]) -> str:
    """Return a name, which may have parts with dots between, if it is known as a whole or in each part."""
    return name if name in known or all(part in known for part in name.split(".")) else LEFT_OUT


def _options(verb: str, words: Sequence[str]) -> Iterator[str]:
    """The options before the words of another command line, as the verb's parser calls them."""
    try:
        parser = parser_of(verb)
    except Exception:  # a module that cannot be loaded: who runs the verb is told
        return
    is_value = False
    for word in words:
        option = parser.option_of(word)
        if word == END or (option is None and parser.has_command and not is_value):
            return
        if option is not None:
            yield option
        is_value = option is not None and option.startswith(word) and parser.takes_value(option)
