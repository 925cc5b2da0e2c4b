"""When a run boots a second time, and what of that is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from analyze import writers_builder

from cr3scope.cli.who import boot_twice, boot_with_plugin
from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding
from cr3scope.diagnose.writer import Writer
from cr3scope.errors import UnusableInput
from cr3scope.images.loaded import Image
from cr3scope.message import Message
from cr3scope.qemu.command import Command, read_command
from cr3scope.qemu.entry_watch import EntryWatch, Watched
from cr3scope.qemu.guest import WriteWatch
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.qemu.plugin import Plugin
from cr3scope.qemu.plugin_build import NoPlugin
from cr3scope.qemu.repeat import AsBefore
from cr3scope.render.message import plain
from cr3scope.verdict.types import Branch, Status, Verdict
from cr3scope.x86.access import EntryRef

PATH = (Branch(0x5000, 0x6000, 1, ("0x5000", "0x6000")),)
WRITER = Writer(0x1000, 0x5000, "loader.c:7", 0, 3)


def finding(phys: int = 0x1000, rule: str = "nx-upper-level", index: int = 0, source: str | None = None, writer: Writer | None = None) -> Finding:
    made = BY_ID[rule].finding(Message("NX"), Message("proof"))
    return replace(made, entry=EntryRef(4, index, phys, 3), source=source, writer=writer)


class Boots:
    """Two boots with their findings; remembers how they were asked for."""

    def __init__(self, first: Finding, second: Finding, status: Status = Status.FAULTED, reason: Reason = Reason.RESET) -> None:
        self._found, self._status, self._reason = [first, second], status, reason
        self.witnesses: list[WriteWatch | None] = []
        self.seconds: list[float] = []

    def __call__(self, _command: Command, _folder: Path, seconds: float, witness: WriteWatch | None) -> tuple[Outcome, Verdict]:
        self.witnesses.append(witness)
        self.seconds.append(seconds)
        outcome = Outcome(reason=self._reason, started=True, seconds=5.0)
        return outcome, Verdict(self._status, (self._found[len(self.witnesses) - 1],), path=PATH if witness is not None else ())


def twice(tmp_path: Path, boots: Boots, *words: str) -> tuple[Verdict, str]:
    """The verdict, and what is said of it beside."""
    _, verdict = boot_twice(read_command(["qemu-system-x86_64", *words]), tmp_path, tmp_path, 60.0, boots)
    return verdict, "; ".join(plain(each.message) for each in verdict.diagnostics)


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.cli.who.plugin_for", lambda words: Path("/plugin.so"))


def test_the_writer_of_the_same_entry_is_taken_over(tmp_path: Path) -> None:
    boots = Boots(finding(), finding(writer=WRITER))
    verdict, said = twice(tmp_path, boots)
    assert verdict.findings[0].writer == WRITER and not said and verdict.path == PATH
    assert [witness is not None for witness in boots.witnesses] == [False, True]
    assert boots.seconds == [60.0, 30.0]  # four times the first one's 5 s, and 10 s more


LOADER = Image(0xDF97000, 0x9000, "BOOTX64.EFI")


class OfLoader(Boots):
    """Boots of a UEFI loader: with the plugin from its first instruction on, and from the reset on; how each ends."""

    def __init__(self, first: Finding, *others: Finding, reasons: tuple[Reason, ...] = ()) -> None:
        super().__init__(first, first)
        self._found = [first, *others]
        self._reasons = reasons or (Reason.RESET,) * (1 + len(others))

    def __call__(self, command: Command, folder: Path, seconds: float, witness: WriteWatch | None) -> tuple[Outcome, Verdict]:
        outcome, verdict = super().__call__(command, folder, seconds, witness)
        outcome.images = (Image(0xFEA1000, 0x20000), LOADER)
        outcome.reason = self._reasons[len(self.witnesses) - 1]
        return outcome, verdict

    def begins(self) -> list[tuple[int, int] | None]:
        return [witness.begins for witness in self.witnesses if isinstance(witness, Plugin)]


FROM_LOADER = (0xDF97000, 0xDF9FFFF)


def test_of_a_loader_that_wrote_it_nothing_is_kept_before_it_begins(tmp_path: Path) -> None:
    boots = OfLoader(finding(), finding(writer=WRITER))
    verdict, said = twice(tmp_path, boots)
    assert boots.begins() == [FROM_LOADER] and verdict.findings[0].writer == WRITER and not said
    assert boots.witnesses[1] is not None and "first=0xdf97000,last=0xdf9ffff" in " ".join(boots.witnesses[1].words())  # type: ignore[union-attr]


def test_if_somebody_else_wrote_it_all_is_kept_in_one_more_boot(tmp_path: Path) -> None:
    boots = OfLoader(finding(), finding(), finding(writer=WRITER))
    verdict, said = twice(tmp_path, boots)
    assert boots.begins() == [FROM_LOADER, None] and verdict.findings[0].writer == WRITER and not said


def test_one_that_is_interrupted_is_the_last(tmp_path: Path) -> None:
    boots = OfLoader(finding(), finding(), reasons=(Reason.RESET, Reason.INTERRUPTED))
    _, said = twice(tmp_path, boots)
    assert boots.begins() == [FROM_LOADER] and said == "no writer is told: the second boot, with the plugin, was interrupted"


def test_that_the_entry_lay_elsewhere_is_said(tmp_path: Path) -> None:
    verdict, said = twice(tmp_path, Boots(finding(phys=0x9000), finding(writer=WRITER)))
    assert verdict.findings[0].writer == WRITER
    assert "the second boot had the entry at 0x1000, not at 0x9000" in said


class ManyBoots(Boots):
    """Boots with several findings each."""

    def __init__(self, first: tuple[Finding, ...], second: tuple[Finding, ...]) -> None:
        super().__init__(first[0], second[0])
        self._all = (first, second)

    def __call__(self, command: Command, folder: Path, seconds: float, witness: WriteWatch | None) -> tuple[Outcome, Verdict]:
        outcome, verdict = super().__call__(command, folder, seconds, witness)
        return outcome, replace(verdict, findings=self._all[len(self.witnesses) - 1])


def test_of_entries_with_one_index_each_has_its_own_writer(tmp_path: Path) -> None:
    low, high = (replace(finding(phys=phys), range=(first, first + 0xFFF)) for phys, first in ((0x1000, 0x5000), (0x2000, 0x205000)))
    others = tuple(replace(each, writer=replace(WRITER, phys=each.entry.phys)) for each in (high, low) if each.entry is not None)
    verdict, said = twice(tmp_path, ManyBoots((low, high), others))
    assert [each.writer.phys for each in verdict.findings if each.writer is not None] == [0x1000, 0x2000] and not said
    moved = tuple(replace(each, range=(0x9000, 0x9FFF)) for each in others)
    (tmp_path / "second").rmdir()
    verdict, said = twice(tmp_path, ManyBoots((low, high), moved))
    assert [each.writer for each in verdict.findings] == [None, None] and "it ended otherwise" in said


def test_that_the_host_has_executed_the_guest_is_said_of_the_second_boot_too(tmp_path: Path) -> None:
    class ByHost(Boots):
        def __call__(self, command: Command, folder: Path, seconds: float, witness: WriteWatch | None) -> tuple[Outcome, Verdict]:
            if isinstance(witness, Plugin):
                writers_builder.write(witness.file, {})
            return super().__call__(command, folder, seconds, witness)

    _, said = twice(tmp_path, ByHost(finding(), finding()))
    assert said == "no writer is told: QEMU has not executed the guest itself, but the host's processor has (KVM)"


def test_a_qemu_that_its_plugin_has_ended_is_no_guest_that_ended_otherwise(tmp_path: Path) -> None:
    """As one whose file in the cache was cut."""

    class Killed(Boots):
        def __call__(self, command: Command, folder: Path, seconds: float, witness: WriteWatch | None) -> tuple[Outcome, Verdict]:
            outcome, verdict = super().__call__(command, folder, seconds, witness)
            if witness is not None:
                outcome.reason, outcome.exit_status = Reason.EXITED, -7
            return outcome, verdict

    _, said = twice(tmp_path, Killed(finding(), finding()))
    assert said == "no writer is told: the second boot, with the plugin (/plugin.so): QEMU itself was ended by signal 7"


def test_whatever_stands_in_the_way_of_a_second_boot_the_first_verdict_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "second").mkdir()
    verdict, said = twice(tmp_path, Boots(finding(), finding(writer=WRITER)))
    assert verdict.status is Status.FAULTED and said == f"no writer is told: no second boot: {tmp_path}/second: File exists"

    def interrupt(*_: object) -> AsBefore:
        raise KeyboardInterrupt

    monkeypatch.setattr("cr3scope.cli.who.before_first_boot", interrupt)
    with pytest.raises(UnusableInput, match="^interrupted before QEMU was started$"):
        twice(tmp_path, Boots(finding(), finding()))


@pytest.mark.parametrize("other", [finding(index=1, writer=WRITER), finding(rule="stack-readonly", writer=WRITER)])
def test_of_a_boot_that_ended_otherwise_nobody_is_named(other: Finding, tmp_path: Path) -> None:
    verdict, said = twice(tmp_path, Boots(finding(), other))
    assert verdict.findings[0].writer is None
    assert "tells no writer: it ended otherwise" in said
    assert verdict.path == () and verdict.shaped == ()  # which led to that other end


@pytest.mark.parametrize(
    "boots",
    [
        Boots(finding(), finding(), status=Status.HEALTHY),
        Boots(finding(), finding(), reason=Reason.INTERRUPTED),
        Boots(finding(source="loader.c:7"), finding()),
        Boots(replace(finding(), entry=None), finding()),
    ],
    ids=["healthy", "interrupted", "source", "nothing in memory"],
)  # fmt: skip
def test_where_nobody_is_asked_for_there_is_one_boot(boots: Boots, tmp_path: Path) -> None:
    _, said = twice(tmp_path, boots)
    assert boots.witnesses == [None] and not said


def test_why_there_is_no_second_boot_is_one_line(tmp_path: Path) -> None:
    boots = Boots(finding(), finding(writer=WRITER))
    _, said = twice(tmp_path, boots, "-device", "vfio-pci,host=01:00.0")
    assert boots.witnesses == [None] and said.startswith("no writer is told: no second boot: -device vfio-pci")


NO_COMPILER = "the plugin was not built: there is no C compiler (cc, gcc or clang)"


@pytest.fixture()
def no_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_words: object) -> Path:
        raise NoPlugin(NO_COMPILER)

    monkeypatch.setattr("cr3scope.cli.who.plugin_for", refuse)


@pytest.mark.usefixtures("no_plugin")
@pytest.mark.parametrize("how", [boot_twice, boot_with_plugin])
def test_without_a_plugin_the_second_boot_is_stopped_at_each_store(how: Callable[..., tuple[Outcome, Verdict]], tmp_path: Path) -> None:
    boots = Boots(finding(), finding(writer=WRITER))
    _, verdict = how(read_command(["qemu-system-x86_64"]), tmp_path, tmp_path, 60.0, boots)
    assert verdict.findings[0].writer == WRITER and not verdict.diagnostics
    first, second = boots.witnesses
    assert first is None and isinstance(second, EntryWatch) and second.words == (Watched(0x1000, 8),)


@pytest.mark.usefixtures("no_plugin")
def test_if_neither_tells_one_line_says_why(tmp_path: Path) -> None:
    class Refusing(Boots):
        def __call__(self, command: Command, folder: Path, seconds: float, witness: WriteWatch | None) -> tuple[Outcome, Verdict]:
            if isinstance(witness, EntryWatch):
                witness.why = "gdb stub: Z2,1000,8: not known"
            return super().__call__(command, folder, seconds, witness)

    _, said = twice(tmp_path, Refusing(finding(), finding(writer=WRITER)))
    assert said == f"no writer is told: {NO_COMPILER}; nor does QEMU's gdb stub tell: gdb stub: Z2,1000,8: not known"


@pytest.mark.usefixtures("no_plugin")
def test_of_a_word_that_was_written_otherwise_the_line_says_both(tmp_path: Path) -> None:
    _, said = twice(tmp_path, Boots(finding(), finding()))
    assert said == (f"no writer is told: {NO_COMPILER}; a second boot, stopped at each store to what is guilty, tells no writer:"
                    " who wrote is not certain")  # fmt: skip
