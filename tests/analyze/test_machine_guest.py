"""A run ends for the right reason, soon, and leaves no process behind: a stand-in for QEMU tells."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cr3scope.errors import UnusableInput
from cr3scope.qemu import guest
from cr3scope.qemu.brood import Brood
from cr3scope.qemu.command import read_command
from cr3scope.qemu.guest import watch
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.qemu.plugin import Plugin
from cr3scope.qemu.qmp import Qmp, QmpError
from cr3scope.qemu.serial_port import SerialPort
from cr3scope.qemu.sight import Sight
from cr3scope.qemu.switch_stop import SwitchStop

FAKE = str(Path(__file__).with_name("fake_qemu.py"))
AT_ONCE = 5.0  # seconds; far below the time limit of a run, far above what a busy machine needs
LIMIT = 30.0


def play(folder: Path, scenario: str, timeout: float = LIMIT) -> Outcome:
    return watch(read_command([sys.executable, FAKE, scenario]), folder, timeout)


def is_alive(process: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, or before it was read
        return False


@pytest.mark.parametrize("status", [0, 33, 35])
def test_exit_of_qemu_ends_the_run_with_its_status_and_every_byte(
    tmp_path: Path, status: int
) -> None:
    outcome = play(tmp_path, f"exit-{status}")
    assert (outcome.reason, outcome.exit_status) == (Reason.EXITED, status)
    assert outcome.started
    assert outcome.serial == b"hello from the guest\n" * 1000
    assert (tmp_path / "serial.log").read_bytes() == outcome.serial
    assert (tmp_path / "interrupts.log").read_bytes().count(b": v=") == 3
    assert outcome.seconds < AT_ONCE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "reason"),
    [
        ("fault-record", Reason.SAID_ALL),
        ("ended", Reason.SAID_ALL),
        ("screen", Reason.SCREEN),
        ("reset", Reason.RESET),
        ("storm", Reason.STORM),
        ("falling-storm", Reason.STORM),  # its stack lasts longer than anybody waits
        ("finite-storm", Reason.RESET),
    ],
)
def test_guest_that_is_done_but_stays_is_ended(
    tmp_path: Path, scenario: str, reason: Reason
) -> None:
    outcome = play(tmp_path, scenario)
    assert outcome.reason is reason
    assert outcome.seconds < AT_ONCE
    assert outcome.registers["RIP"] == 0xABCDE


def test_a_storm_whose_end_is_awaited_is_no_standstill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at the CPUs between the storm and its end took the run for a standstill."""
    real, storms, begun = Sight.look, guest._Watcher._storm, threading.Event()

    def stands(sight: Sight, qmp: Qmp | None, serial: SerialPort, records: int) -> Reason | None:
        told = real(sight, qmp, serial, records)
        return Reason.STANDSTILL if begun.is_set() else told

    monkeypatch.setattr(guest._Watcher, "_storm", lambda watcher: (storms(watcher), begun.set()))
    monkeypatch.setattr(Sight, "look", stands)
    monkeypatch.setattr(guest, "FINITE_STORM_SECONDS", LIMIT)
    assert play(tmp_path, "falling-storm").reason is Reason.STORM


def test_guest_that_is_never_done_is_ended_at_the_time_limit(tmp_path: Path) -> None:
    outcome = play(tmp_path, "silent", timeout=1.0)
    assert outcome.reason is Reason.TIMEOUT
    assert 1.0 <= outcome.seconds < 1.0 + AT_ONCE
    assert outcome.registers["HLT"] == 1 and outcome.registers["CR3"] == 0xE531000


def test_qemu_that_does_not_answer_is_killed(tmp_path: Path) -> None:
    outcome = play(tmp_path, "deaf", timeout=1.0)
    assert outcome.reason is Reason.TIMEOUT
    assert outcome.exit_status == -signal.SIGKILL
    assert any("no answer" in note for note in outcome.notes)


def test_program_that_never_calls_is_not_waited_for_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cr3scope.qemu.guest.CALL_SECONDS", 0.5)
    outcome = play(tmp_path, "never-calls")
    assert (outcome.reason, outcome.started) == (Reason.TIMEOUT, False)
    assert outcome.seconds < AT_ONCE


@pytest.mark.parametrize(
    ("action", "reason"),
    [("reset", Reason.RESET), ("poweroff", Reason.SHUT_DOWN), ("pause", Reason.STOPPED)],
)
def test_watchdog_that_barks_ends_the_run(tmp_path: Path, action: str, reason: Reason) -> None:
    outcome = play(tmp_path, f"barks-{action}")
    assert (outcome.reason, outcome.watchdog) == (reason, action)
    assert outcome.seconds < AT_ONCE


def test_watchdog_that_only_tells_does_not_end_the_run(tmp_path: Path) -> None:
    assert play(tmp_path, "barks-none", timeout=1.0).reason is Reason.TIMEOUT


def test_qemu_that_gives_up_on_its_guest_ends_the_run(tmp_path: Path) -> None:
    outcome = play(tmp_path, "state-internal-error")
    assert (outcome.reason, outcome.run_state) == (Reason.STOPPED, "internal-error")
    assert outcome.seconds < AT_ONCE


def test_guest_that_a_debugger_has_stopped_is_no_standstill(tmp_path: Path) -> None:
    assert play(tmp_path, "state-paused", timeout=4.5).reason is Reason.TIMEOUT


@pytest.mark.parametrize(
    ("words", "goes_on"), [(["-S"], True), (["-S", "-s"], False), ([], False)]
)
def test_guest_that_starts_stopped_is_started_unless_a_debugger_is_to(
    tmp_path: Path, words: list[str], goes_on: bool
) -> None:
    command = read_command([sys.executable, FAKE, "silent", *words])
    assert (b"continued" in watch(command, tmp_path, 1.0).serial) is goes_on


@pytest.mark.parametrize(("words", "goes_on"), [([], True), (["-s"], True), (["-S"], True), (["-S", "-s"], False)])
def test_a_guest_with_the_plugin_waits_until_that_knows_where_memory_is(
    tmp_path: Path, words: list[str], goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ran meanwhile, and of what it stored then no value was kept: of an entry that a device wrote last an instruction was told."""
    done: list[str] = []
    start, execute = Brood.start, Qmp.execute

    def starts(brood: Brood, told: list[str]) -> subprocess.Popen[bytes]:
        done.append("held" if "-S" in told else "runs")
        return start(brood, told)

    def executes(qmp: Qmp, command: str, **arguments: Any) -> object:
        done.extend(["cont"] if command == "cont" else [])
        return execute(qmp, command, **arguments)

    monkeypatch.setattr(Brood, "start", starts)
    monkeypatch.setattr(Qmp, "execute", executes)
    monkeypatch.setattr(Plugin, "tell", lambda *_: done.append("told"))
    watch(read_command([sys.executable, FAKE, "silent", *words]), tmp_path, 1.0, witness=Plugin(Path("/plugin.so"), tmp_path / "writers"))
    assert done == ["held", "told", *(["cont"] if goes_on else [])]


@pytest.mark.parametrize("is_traced", [True, False])
def test_a_guest_that_traces_is_not_stopped_for_a_look_at_its_switch(is_traced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The firmware says that it starts a loader in the same words in which that begins to trace."""
    searched: list[bool] = []
    watcher: Any = object.__new__(guest._Watcher)
    watcher._switch = SwitchStop(tmp_path, lambda _qmp: (), lambda _qmp: None)
    watcher._serial = SimpleNamespace(is_traced=is_traced)
    monkeypatch.setattr(guest._Watcher, "_search", lambda _: searched.append(True))
    watcher._search_again()
    assert bool(searched) is not is_traced


def test_a_guest_with_the_plugin_goes_on_even_if_that_can_be_told_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise QmpError("info mtree: no answer")

    monkeypatch.setattr(Plugin, "tell", refuses)
    outcome = watch(read_command([sys.executable, FAKE, "silent"]), tmp_path, 1.0, witness=Plugin(Path("/plugin.so"), tmp_path / "writers"))
    assert b"continued" in outcome.serial and "info mtree: no answer" in outcome.notes


def test_actions_of_the_command_are_set_again_once_it_runs(tmp_path: Path) -> None:
    command = read_command([sys.executable, FAKE, "silent", "-action", "reboot=reset"])
    told = watch(command, tmp_path, 1.0).serial
    assert b'{"reboot": "shutdown", "shutdown": "pause"}' in told


@pytest.mark.slow
def test_flood_on_the_serial_port_is_bounded_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cr3scope.limits.SERIAL_BYTES", 1 << 20)
    outcome = play(tmp_path, "flood", timeout=2.0)
    assert outcome.serial == (tmp_path / "serial.log").read_bytes()
    assert 1 << 20 < len(outcome.serial) < (1 << 20) + 100
    assert any("bytes left out" in note for note in outcome.notes)
    assert outcome.seconds < 2.0 + AT_ONCE


def test_children_of_qemu_are_ended_with_it(tmp_path: Path) -> None:
    outcome = play(tmp_path, "child", timeout=1.0)
    child = int(outcome.serial.split()[1])
    until = time.monotonic() + AT_ONCE
    while is_alive(child):
        assert time.monotonic() < until, f"the child was not gone after {AT_ONCE} s"


def test_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="no-such-qemu: cannot be started"):
        watch(read_command(["no-such-qemu"]), tmp_path, LIMIT)


def test_guest_that_is_done_before_anything_else_is_has_started(tmp_path: Path) -> None:
    command = read_command([sys.executable, FAKE, "exit-33"])
    outcome = watch(command, tmp_path, LIMIT, lambda: time.sleep(1.0))
    assert outcome.started and outcome.exit_status == 33


def test_program_that_starts_no_guest_is_known(tmp_path: Path) -> None:
    outcome = play(tmp_path, "refuses")
    assert not outcome.started
    assert outcome.exit_status == 1 and "no such machine" in outcome.words


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_ends_the_run_and_qemu_with_it(tmp_path: Path, number: signal.Signals) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    program = "import sys; from cr3scope.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["run", "-o", str(tmp_path), "--", sys.executable, FAKE, f"tell:{told}"]
    with subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        qemu = int(told.read_text())
        running.send_signal(number)
        printed = running.communicate(timeout=LIMIT)[0]
    until = time.monotonic() + AT_ONCE
    while is_alive(qemu):
        assert time.monotonic() < until, f"QEMU was not gone {AT_ONCE} s after the run"
    if number != signal.SIGKILL:
        assert running.returncode == 2
        assert "interrupted after" in printed


def command_lines() -> str:
    """Return those of all processes, each word followed by NUL (proc(5), cmdline)."""
    told = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ends meanwhile
            told.append((process / "cmdline").read_bytes())
    lines = b"".join(told).decode(errors="replace")
    assert "pytest" in lines, "this process itself must be among them"
    return lines


def test_what_is_done_meanwhile_may_fail_and_no_qemu_is_left(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("import failed")

    own = str(tmp_path)  # a scenario that is only in this process's command line
    with pytest.raises(RuntimeError, match="import failed"):
        watch(read_command([sys.executable, FAKE, own]), tmp_path, LIMIT, fail)
    assert f"{FAKE}\0{own}\0" not in command_lines()


def ask_without_end(qmp: Qmp, _outcome: Outcome) -> None:
    """What an examination does that is led in circles by the guest's tables."""
    while True:
        qmp.execute("query-status")


def test_a_signal_ends_the_examination_and_keeps_the_rest(tmp_path: Path) -> None:
    def examine(qmp: Qmp, outcome: Outcome) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        ask_without_end(qmp, outcome)

    outcome = watch(read_command([sys.executable, FAKE, "screen"]), tmp_path, LIMIT, examine=examine)
    assert outcome.reason is Reason.SCREEN
    assert outcome.notes == ["not all was asked of the paused guest: interrupted"]


def test_an_examination_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.qemu.guest.EXAMINE_SECONDS", 0.2)
    command = read_command([sys.executable, FAKE, "screen"])
    outcome = watch(command, tmp_path, LIMIT, examine=ask_without_end)
    assert outcome.notes == [
        "not all was asked of the paused guest: the time for it was up"
    ]
