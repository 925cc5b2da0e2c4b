"""``run --who``: who wrote what a verdict finds guilty, by a plugin of QEMU, at once or by a second boot."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.errors import Ended, UnusableInput
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.message import message
from cr3scope.qemu.command import Command
from cr3scope.qemu.entry_watch import EntryWatch, Watched
from cr3scope.qemu.guest import WriteWatch
from cr3scope.qemu.left import last_words
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.qemu.plugin import Plugin
from cr3scope.qemu.plugin_build import NoPlugin, plugin_for
from cr3scope.qemu.repeat import AsBefore, before_first_boot
from cr3scope.verdict.assemble import with_note, with_writers
from cr3scope.verdict.types import Status, Verdict
from cr3scope.verdict.writers import NOT_EXECUTED

if TYPE_CHECKING:
    from cr3scope.images.loaded import Image
    from cr3scope.input.writers.reader import WritersFile

_BAD = (Status.FAULTED, Status.HUNG)
_SLOWER, _MORE_SECONDS = 4.0, 10.0  # what a boot with the plugin may take of the time without it
_WITH_PLUGIN, _WITH_STOPS = "with the plugin", "stopped at each store to what is guilty"
# A boot with a command, into a folder, within some seconds: what came of it, and the verdict.
Boots = Callable[[Command, Path, float, WriteWatch | None], tuple[Outcome, Verdict]]


def add_who_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say when a plugin is used."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--who", action="store_true", default=None,
                       help="keep from the start who wrote each word of memory, with a plugin of QEMU: the boot takes three times as long")  # fmt: skip
    group.add_argument("--no-who", dest="who", action="store_false",
                       help="do not boot a second time, with the plugin, if the guest faulted or hung")  # fmt: skip


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Make a private folder for what only lives as long as the run, and remove it afterwards."""
    made = Path(tempfile.mkdtemp(prefix=".cr3scope-", dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def boot_with_plugin(command: Command, folder: Path, work: Path, seconds: float, boots: Boots) -> tuple[Outcome, Verdict]:
    """Boot once, with the plugin; if there can be none, as without ``--who``."""
    try:
        plugin = Plugin(plugin_for(command.words), work / "writers")
    except NoPlugin:
        return boot_twice(command, folder, work, seconds, boots)
    except (KeyboardInterrupt, Ended) as error:
        raise UnusableInput("interrupted before QEMU was started") from error
    return boots(command, folder, seconds * _SLOWER, plugin)


def boot_twice(command: Command, folder: Path, work: Path, seconds: float, boots: Boots) -> tuple[Outcome, Verdict]:
    """Boot; once more with the plugin, if the guest ended badly and it is to be told who wrote something."""
    try:
        before = before_first_boot(command, work)
    except (KeyboardInterrupt, Ended) as error:
        raise UnusableInput("interrupted before QEMU was started") from error
    outcome, verdict = boots(command, folder, seconds, None)
    if not _asks_who(verdict, outcome):
        return outcome, verdict
    try:
        return outcome, _second(before, outcome, verdict, work, boots)
    except UnusableInput as error:
        return outcome, _noted(verdict, str(error))
    except OSError as error:
        return outcome, _noted(verdict, f"no second boot: {error.filename or work}: {error.strerror}")
    except (KeyboardInterrupt, Ended):
        return outcome, _noted(verdict, _interrupted(_WITH_PLUGIN))


def _interrupted(how: str) -> str:
    return f"the second boot, {how}, was interrupted"


def _asks_who(verdict: Verdict, outcome: Outcome) -> bool:
    if verdict.status not in _BAD or outcome.reason is Reason.INTERRUPTED:
        return False
    guilty = _guilty(verdict, outcome)
    return guilty is not None and guilty.source is None  # a trace has told it: what is further down is not worth a boot


def _guilty(verdict: Verdict, outcome: Outcome) -> Finding | None:
    rules = {word.rule for word in outcome.guilty}
    return next((each for each in verdict.findings if _names_memory(each, rules)), None)


def _names_memory(finding: Finding, rules: set[str]) -> bool:
    """Whether it names a thing in memory that somebody has made."""
    return finding.severity is not Severity.NOTE and (finding.entry is not None or finding.rule in rules)


def _second(before: AsBefore, outcome: Outcome, verdict: Verdict, work: Path, boots: Boots) -> Verdict:
    hazard = before.hazard(outcome.argv)
    if hazard:
        raise NoPlugin(f"no second boot: {hazard}")
    witness, how, why = _witness(before.again(), outcome, verdict, work)
    changed = [*before.changed()]
    once_more = partial(_again, before, outcome, verdict, boots, how, why, changed)
    if sys.stderr.isatty():
        print(f"once more, {how}, for who wrote what; --no-who goes without", file=sys.stderr)
    loader = _loader(outcome)
    if isinstance(witness, Plugin) and loader is not None:
        quick = replace(witness, file=work / "writers-of-loader", begins=(loader.base, loader.base + loader.size - 1))
        found, is_last = once_more(work / "loader", quick)
        guilty = _guilty(found, outcome)
        if is_last or guilty is not None and guilty.writer is not None:
            return found
    return once_more(work / "second", witness)[0]


def _loader(outcome: Outcome) -> Image | None:
    """What the firmware loaded first from a file: nearly always it, or what it calls, has written what is guilty."""
    return next((image for image in outcome.images if image.name is not None and image.size > 0), None)


def _again(
    before: AsBefore, outcome: Outcome, verdict: Verdict, boots: Boots, how: str, why: str, changed: list[str], folder: Path, witness: WriteWatch
) -> tuple[Verdict, bool]:
    """The first verdict with what one more boot tells; and whether the user wants no other."""
    folder.mkdir()
    seconds = _SLOWER * outcome.seconds + _MORE_SECONDS
    second, again = boots(before.again(), folder, seconds, witness)
    if second.reason is Reason.INTERRUPTED:
        return _noted(verdict, _interrupted(how)), True
    if not second.started:
        return _noted(verdict, f"{why}the second boot, {how}, did not start: {last_words(second) or 'QEMU does not say why'}"), False
    if second.reason is Reason.EXITED and (second.exit_status or 0) < 0:
        by = f" ({witness.program})" if isinstance(witness, Plugin) else ""
        return _noted(verdict, f"{why}the second boot, {how}{by}: QEMU itself was ended by signal {-(second.exit_status or 0)}"), False
    if isinstance(witness, EntryWatch) and witness.why:
        return _noted(verdict, f"{why}nor does QEMU's gdb stub tell: {witness.why}"), False
    writers = open_writers(witness)
    if writers is not None:
        with closing(writers):
            if writers.is_empty:
                return with_note(verdict, NOT_EXECUTED), False
    return _with_writers(verdict, again, changed, how, why), False


def _witness(command: Command, outcome: Outcome, verdict: Verdict, work: Path) -> tuple[WriteWatch, str, str]:
    """Who is to tell it in the second boot, in words; and why that is not the plugin, with a separator, "" if it is."""
    try:
        return Plugin(plugin_for(command.words), work / "writers"), _WITH_PLUGIN, ""
    except NoPlugin as error:
        watch = EntryWatch([*_watched(verdict, outcome)])
        if not watch.words:
            raise
        return watch, _WITH_STOPS, f"{error}; "


def _watched(verdict: Verdict, outcome: Outcome) -> Iterator[Watched]:
    for finding in verdict.findings:
        entry = finding.entry
        if entry is not None and finding.severity is not Severity.NOTE:
            yield Watched(entry.phys, entry.form.entry_bytes)
    for word in outcome.guilty:
        if not word.is_past:  # a stack is written all the time
            yield Watched(word.phys, word.width)


def _with_writers(verdict: Verdict, again: Verdict, changed: list[str], how: str, no_plugin: str) -> Verdict:
    """The first verdict, with what the second boot tells of the same things."""
    pairs = [(each, _same(each, verdict.findings, again.findings)) for each in verdict.findings]
    findings = tuple(_joined(each, other) for each, other in pairs)
    # Else its way is that to another end; of warnings, as of a file, there are the same in any boot.
    is_same = any(other is not None for one, other in pairs if one.severity is Severity.ERROR)
    found = with_writers(verdict, findings, again.path if is_same else (), again.shaped if is_same else (), again.source_texts)
    moved = next(((one.entry.phys, other.writer.phys) for one, other in pairs if one.entry is not None and other is not None
                  and other.writer is not None and other.writer.phys != one.entry.phys), None)  # fmt: skip
    if moved is not None:
        found = _noted(found, f"the second boot had the entry at {moved[1]:#x}, not at {moved[0]:#x}: the writer's addresses are those"
                              " of the second")  # fmt: skip
    errors = [each for each in findings if each.severity is Severity.ERROR]
    if all(each.writer is None for each in errors or findings):
        why = "who wrote is not certain" if is_same else "it ended otherwise"
        left = f"; the first has left {', '.join(changed)} changed" if changed else ""
        found = _noted(found, f"{no_plugin}a second boot, {how}, tells no writer: {why}{left}")
    return found


def _same(finding: Finding, own: Sequence[Finding], others: Sequence[Finding]) -> Finding | None:
    """The finding of the other boot that is about the same thing: of the same addresses, or the only one of its kind in both boots."""
    key = _key(finding)
    alike = [each for each in others if _key(each) == key]
    exact = next((each for each in alike if each.range == finding.range), None)
    is_only = len(alike) == 1 and sum(_key(each) == key for each in own) == 1
    return exact or (alike[0] if is_only else None)


def _key(finding: Finding) -> tuple[object, ...]:
    entry = finding.entry
    return (finding.rule, *((entry.level, entry.index) if entry else ()))


def _joined(finding: Finding, other: Finding | None) -> Finding:
    return finding if other is None or other.writer is None else replace(finding, writer=other.writer)


def _noted(verdict: Verdict, why: str) -> Verdict:
    return with_note(verdict, Diagnostic(message("no writer is told: {why}", why=why)))


def open_writers(witness: WriteWatch | None) -> WritersFile | None:
    """Return what the plugin has kept; None without a plugin, or if it left nothing that can be read."""
    if not isinstance(witness, Plugin):
        return None
    from cr3scope.input.writers.reader import WritersFile

    try:
        return WritersFile(witness.file)
    except UnusableInput:
        return None
