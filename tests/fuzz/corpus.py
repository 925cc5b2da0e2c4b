"""Inputs that once were answered wrongly, as files, with what is right.

``corpus/answers``: a line for each, ``FILE VERB WORDS``: the verb of the command line, and the verdict's headline up to there,
or ``refused``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fuzz.target import require

from cr3scope.cli.main import EXIT_UNUSABLE, main

FOLDER = Path(__file__).resolve().parent / "corpus"
_INTERNAL = "internal error"


class Answer(NamedTuple):
    """What is right."""

    verb: str
    words: str


def answers() -> Iterator[tuple[str, Answer]]:
    """Yield the file and the right answer of each line."""
    for line in (FOLDER / "answers").read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            name, verb, words = line.split(None, 2)
            yield name, Answer(verb, words)


def names() -> list[str]:
    """Return every file."""
    return [name for name, _ in answers()]


def check(name: str) -> None:
    """Ask the command line about a file; Find if it answers otherwise."""
    answer = dict(answers())[name]
    out, errors = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = main([answer.verb, str(FOLDER / name)])
    out.seek(0)
    said = out.read()
    require(_INTERNAL not in errors.getvalue(), errors.getvalue())
    if answer.words == "refused":
        require(status == EXIT_UNUSABLE and errors.getvalue().count("\n") == 1, f"status {status}, {errors.getvalue()!r}")
    else:
        require(said.startswith(answer.words), f"{said[:200]!r}, not {answer.words!r}")
