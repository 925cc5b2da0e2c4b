"""Has a boot judged of which only the console was heard: its trace as by `analyze`, all else as by `triage`."""

from __future__ import annotations

from collections.abc import Sequence

from cr3scope.diagnose.facts.last_words import last_words
from cr3scope.diagnose.witness import Witness
from cr3scope.errors import UnusableInput
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.symbols import Symbols
from cr3scope.input.capture.framing import SENTINEL
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.input.logs.console import is_no_panic
from cr3scope.input.logs.log_format import Story
from cr3scope.input.logs.logfile import LogText
from cr3scope.input.logs.report import formats_of, read_story
from cr3scope.verdict.analysis import case_of_capture, symbols_of_boot
from cr3scope.verdict.case import Case, Circumstance
from cr3scope.verdict.gave_up import with_panic
from cr3scope.verdict.log import case_of_story
from cr3scope.verdict.run import RunEnd, judge_heard as judge
from cr3scope.verdict.types import Verdict
from cr3scope.wire.heard import End, Heard

_MIDDLE = "listening began in the middle of this boot: what came before is not known"
_LEAST_QUIET = 0.1  # seconds; of what came in one piece nobody knows
_NOTHING = "nothing in what was said tells how it went: no trace, exception or panic that is known"


def judge_heard(heard: Heard, elf_files: Sequence[ElfFile]) -> tuple[Verdict, bool]:
    """Return the verdict, and whether it is on a boot that was heard from where its trace begins, or on one without a trace."""
    notes = list(heard.remarks)
    symbols: Symbols | None = Symbols((), elf_files) if elf_files else None
    is_whole = True
    try:
        if SENTINEL in heard.text:
            capture = read_capture(heard.text, heard.path.name)
            is_whole = bool(capture.boots) or not capture.damage
            if not capture.boots:
                notes.append(_MIDDLE)
            symbols = symbols_of_boot(capture, elf_files)
            began_again = heard.end is End.BEGAN_AGAIN
            case = with_panic(case_of_capture(capture, None, symbols, began_again=began_again, heard=Witness.CONSOLE), heard.panic)
        else:
            told = _story(heard.text, has_panicked=heard.panic is not None)
            case = _told_nothing(_NOTHING) if told is None else case_of_story(told, symbols)
    except UnusableInput as error:  # a trace of another version, a log of another architecture
        case = _told_nothing(str(error))
    because = _because(heard)
    if Circumstance.TOLD_NOTHING in case.circumstances:  # which explains more
        notes = [*filter(None, [because]), *(f"last words: {line}" for line in last_words(heard.text)), *notes]
        because = ""
    return judge(_end(heard, because, notes), case, symbols), is_whole


def _end(heard: Heard, because: str, notes: Sequence[str]) -> RunEnd:
    return RunEnd(
        lost=[f"lost on the way: {what}" for what in heard.lost],
        is_interrupted=heard.end is End.INTERRUPTED,
        seconds=heard.seconds,
        panic=heard.panic,
        ended=heard.end.code,
        said=last_words(heard.text),
        notes=notes,
        because=because,
    )


def _because(heard: Heard) -> str:
    if heard.end in (End.SAID_ALL, End.INTERRUPTED):
        return ""
    if heard.end is End.SILENT:
        return f"the machine has said nothing for {round(heard.quiet, 0 if heard.quiet >= 1 else 1):g} s (--idle)"
    if heard.end is End.BEGAN_AGAIN and heard.quiet >= _LEAST_QUIET:
        return f"{heard.end.value} {heard.quiet:.1f} s after its last word"
    return str(heard.end.value)


def _told_nothing(words: str) -> Case:
    return Case(circumstances=frozenset({Circumstance.TOLD_NOTHING}), diagnostics=(Diagnostic(words),))


def _story(text: bytes, has_panicked: bool) -> Story | None:
    """What the text tells, as a log; None if nothing that is known."""
    with LogText(text, "what was said") as log:
        return read_story(log, is_told=None if has_panicked else is_no_panic) if log.size and formats_of(log) else None
