"""A text that somebody calls a log, and what triage says of it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import NamedTuple

from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.render.text import render
from cr3scope.verdict.log import judge_log
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.ending import Ending


class Said(NamedTuple):
    verdict: Verdict
    words: str  # of the whole report, in one line

    @property
    def status(self) -> Status:
        return self.verdict.status

    @property
    def ending(self) -> Ending | None:
        assert self.verdict.observation is not None
        return self.verdict.observation.ending

    def has(self, *wanted: str) -> bool:
        """Return whether all of these words are said."""
        return all(words in self.words for words in wanted)

    def says_none_of(self, *forbidden: str) -> bool:
        return not any(words in self.words for words in forbidden)


def triage(folder: Path, text: str | bytes) -> Said:
    """Return the verdict on a text, and its words."""
    path = folder / "log"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with LogFile(path) as log:
        verdict = judge_log(read_story(log))
    return Said(verdict, " ".join(render(verdict).split()))


DISGUISES: dict[str, Callable[[str], str]] = {
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "quoted": lambda text: "".join(f"> {line}\n" for line in text.splitlines()),
    "HTML": escape,
}


def disguised(text: str) -> dict[str, str | bytes]:
    """Return a text in the forms in which people paste it."""
    return {
        "as it is": text,
        **{name: disguise(text) for name, disguise in DISGUISES.items()},
        "indented": "".join(f"    {line}\n" for line in text.splitlines()),
        "UTF-16": b"\xff\xfe" + text.encode("utf-16-le"),
        "between prose": f"Hello, my kernel does not boot. This is all I get:\n```\n{text}```\nWhat is wrong?\n",
    }
