"""Inputs that once were answered wrongly, with what is right.

``corpus/answers``: a line for each, ``NAME | WORDS OF THE COMMAND LINE | ANSWER | MORE``. NAME is a file beside it, or one that ``made.py`` makes;
among the words stands ``FILE`` for it, or another's name. ANSWER is the verdict's headline up to there, or ``refused`` (one line, status 2); MORE must be said as well.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fuzz import wire
from fuzz.made import MADE
from fuzz.target import require, shown
from fuzz.worker import bounded_memory

from cr3scope.cli.main import EXIT_UNUSABLE, main

FOLDER = Path(__file__).resolve().parent / "corpus"
MOST_SECONDS, MOST_BYTES = 2.0, 512 << 20
_INTERNAL = "internal error"
_PLACES = {"GOLDEN": str(wire.GOLDEN), "HEALTHY": str(wire.REAL)}


class Answer(NamedTuple):
    """What is right."""

    words: tuple[str, ...]
    begins: str
    holds: str


def answers() -> Iterator[tuple[str, Answer]]:
    """Yield the name and the right answer of each line."""
    for line in (FOLDER / "answers").read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            name, words, begins, *holds = (part.strip() for part in line.split("|"))
            yield name, Answer(tuple(words.split()), begins, "".join(holds))


def names() -> list[str]:
    """Return every name."""
    return [name for name, _ in answers()]


def unanswered() -> set[str]:
    """Return the files and what is made, of which no line says what is right."""
    return {*MADE, *(path.name for path in FOLDER.iterdir())} - {"answers", *names()}


def _placed(word: str, folder: Path) -> str:
    """Return a word of the command line; of an input, where it lies now."""
    if word not in MADE and not (FOLDER / word).is_file():
        return _PLACES.get(word, word)
    file = folder / word
    file.write_bytes(MADE[word]() if word in MADE else (FOLDER / word).read_bytes())
    return str(file)


def check(name: str) -> None:
    """Ask the command line about an input; Find if it answers otherwise, takes too long or too much memory."""
    answer = dict(answers())[name]
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
        words = [_placed(name if word == "FILE" else word, Path(folder)) for word in answer.words]
        out, errors = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
        began = time.process_time()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), bounded_memory(MOST_BYTES):
            status = main(words)
        took = time.process_time() - began
    out.seek(0)
    said, complaint = shown(out.read()), shown(errors.getvalue())
    require(_INTERNAL not in complaint, complaint)
    require(took < MOST_SECONDS, f"{took:.1f} s")
    if answer.begins == "refused":
        require(status == EXIT_UNUSABLE and complaint.count("\n") == 1 and not said, f"status {status}, {complaint!r}, {said!r}")
    else:
        require(said.startswith(answer.begins), f"{said[:200]!r}, not {answer.begins!r}")
    require(answer.holds in f"{said} {complaint}".replace("\n     ", ""), f"{answer.holds!r} is not in {said} {complaint}")
