"""A boot from a test, and what a test asks of its verdict."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, Union

from cr3scope.cli.main import parsed
from cr3scope.cli.run import SERIAL, watched
from cr3scope.dataclass import dataclass
from cr3scope.diagnose.finding import Severity
from cr3scope.errors import UnusableInput
from cr3scope.qemu.outcome import Reason
from cr3scope.render import text
from cr3scope.text import printable
from cr3scope.verdict.types import Status, Verdict

Word = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True, slots=True)
class Booted:
    """What came of a boot. ``folder`` holds what `cr3scope run` leaves: the serial port's and the interrupts' log, and more."""

    verdict: Verdict
    folder: Path

    @property
    def status(self) -> Status:
        """Return the verdict's one-word answer."""
        return self.verdict.status

    @property
    def is_healthy(self) -> bool:
        """Return whether the guest is healthy, and nothing that was found is an error: as exit status 0 of `cr3scope run`."""
        return self.verdict.exit_status == 0

    @property
    def headline(self) -> str:
        """Return the answer in one line."""
        return printable(text.headline(self.verdict))

    @property
    def report(self) -> str:
        """Return all that `cr3scope run` prints."""
        return text.render(self.verdict)

    @property
    def rules(self) -> tuple[str, ...]:
        """Return the rules of the findings, in the order in which they strike."""
        return tuple(finding.rule for finding in self.verdict.findings)

    @property
    def serial(self) -> bytes:
        """Return what the guest has sent on its serial port; nothing if that went elsewhere."""
        try:
            return (self.folder / SERIAL).read_bytes()
        except FileNotFoundError:
            return b""

    def __str__(self) -> str:
        return self.report

    def require_healthy(self) -> None:
        """Raise AssertionError, with the whole report, unless the guest is healthy."""
        if not self.is_healthy:
            self._fail("the guest is not healthy")

    def require_fault(self, rule: str | None = None, vector: int | None = None) -> None:
        """Raise AssertionError, with the whole report, unless the guest faulted or hung: by an error of ``rule``, and of an exception ``vector``,
        where these are given.
        """
        if self.status not in (Status.FAULTED, Status.HUNG):
            self._fail("the guest neither faulted nor hung")
        if rule is not None and all(one.rule != rule or one.severity is not Severity.ERROR for one in self.verdict.findings):
            self._fail(f"no error of the rule {rule}")
        first = self.verdict.observation.first if self.verdict.observation is not None else None
        if vector is not None and (first is None or first.vector != vector):
            self._fail(f"exception {vector} was not the first: {'none was' if first is None else first.vector}")

    def _fail(self, why: str) -> NoReturn:
        raise AssertionError(f"{why}\n{self.report}what was captured: {self.folder}")


def boot(
    *command: Word, elf: Sequence[Word] = (), folder: Word = "cr3scope-run", timeout: float = 60.0, expect: str | None = None,
    fail: str | None = None, until: str | None = None, idle: float | None = None, who: bool | None = False,
) -> Booted:  # fmt: skip
    """Boot a QEMU command, watch it until the guest is done, and return what came of it.

    The options are those of `cr3scope run`: ``elf`` are files with symbols, ``expect``, ``fail`` and ``until`` regular expressions of what the
    guest says; ``timeout`` and ``idle`` are seconds. ``who``: True keeps from the start who wrote what, None boots once more for that if the guest
    died. UnusableInput if there is no such QEMU, or it does not start a guest. KeyboardInterrupt ends the guest.
    """
    given = {"--expect": expect, "--fail": fail, "--until": until, "--idle": idle, "--timeout": timeout, "-o": os.fspath(folder)}
    words = ["run", *_options(given), *(f"--elf={os.fspath(file)}" for file in elf)]
    if who is not None:
        words.append("--who" if who else "--no-who")
    try:
        arguments = parsed([*words, "--", *(os.fspath(word) for word in command)])
    except SystemExit as error:  # argparse has said why
        raise UnusableInput("boot(): one of its options is none that `cr3scope run` takes") from error
    with watched(arguments) as (outcome, verdict):
        if outcome.reason is Reason.INTERRUPTED:
            raise KeyboardInterrupt
        return Booted(verdict, Path(folder))


def _options(given: Mapping[str, object]) -> Iterator[str]:
    for name, value in given.items():
        if value is not None:
            yield from (name, str(value)) if name == "-o" else (f"{name}={value}",)
