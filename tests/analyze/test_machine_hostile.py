"""What QEMU, or what stands in its place, may do wrong: it lies, floods, stalls, fails, or leaves children behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from analyze.fake_qemu import LIES
from analyze.test_machine_guest import AT_ONCE, FAKE, LIMIT, is_alive, play

from cr3scope.cli.main import main
from cr3scope.errors import UnusableInput
from cr3scope.images.debug_table import table_counts
from cr3scope.qemu.channels import channels_in
from cr3scope.qemu.command import read_command
from cr3scope.qemu.gdb_stub import GdbStub
from cr3scope.qemu.left import exit_notes, failure_words
from cr3scope.qemu.memory_map import ram_ranges
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.qemu.paused_guest import look, stopped_cpus
from cr3scope.qemu.qmp import Qmp, QmpError

PROMPT_SECONDS = 4.5  # an answer that does not come is waited for 3 s, and the end of QEMU 2 s, where no signal hurries
PROGRAM = "import sys; from cr3scope.cli.main import main; sys.exit(main(sys.argv[1:]))"


def judge(folder: Path, scenario: str, *options: str, seconds: str = "2") -> tuple[int, dict[str, Any], str]:
    """Exit status, JSON verdict and its remarks of a run of the stand-in."""
    target = folder / "verdict.json"
    words = ["run", "-o", str(folder / "run"), "--timeout", seconds, "--json", str(target), *options]
    status = main([*words, "--", sys.executable, FAKE, scenario])
    verdict = json.loads(target.read_text())
    return status, verdict, "\n".join(each["message"] for each in verdict["diagnostics"])


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [*LIES, "deep", "huge-number", "hangs-up"])
def test_answers_that_no_qemu_gives_end_in_a_verdict(
    tmp_path: Path, scenario: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cr3scope.qemu.qmp.REPLY_SECONDS", 0.3)
    status, verdict, told = judge(tmp_path, scenario)
    assert "internal error" not in capsys.readouterr().err
    if scenario not in ("wide-words", "junk-words"):  # where no word can be read there is no memory
        assert (status, verdict["verdict"]) == (2, "incomplete"), told
        assert "not all was asked of the paused guest" in told or "what is no QMP" in told


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["flood-line", "flood-events", "flood-answers", "flood-stderr"])
def test_a_flood_keeps_nobody_from_the_clock(tmp_path: Path, scenario: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.qemu.qmp.REPLY_SECONDS", 0.3)
    monkeypatch.setattr("cr3scope.limits.QMP_MESSAGE_BYTES", 1 << 20)
    outcome = play(tmp_path, scenario, timeout=1.0)
    assert outcome.reason is Reason.TIMEOUT
    assert outcome.seconds < 1.0 + AT_ONCE
    assert bool(outcome.losses) is (scenario != "flood-stderr")


@pytest.mark.parametrize("status", [0, 1, 2])
def test_a_qemu_that_failed_is_not_healthy_and_says_why(tmp_path: Path, status: int) -> None:
    found, verdict, told = judge(tmp_path, f"fails-{status}")
    assert (found, verdict["verdict"], verdict["observation"]) == (2, "incomplete", None)
    assert f"exit status {status}: qemu-system-x86_64: fatal: could not read the disk" in told


def test_a_guest_of_which_nothing_was_seen_is_not_healthy(tmp_path: Path) -> None:
    status, verdict, told = judge(tmp_path, "works-silently")
    assert (status, verdict["verdict"], verdict["observation"]) == (2, "incomplete", None)
    assert "nothing was seen of the guest: no byte on a serial port" in told
    assert judge(tmp_path, "says:busy")[0] == 0


def test_a_qemu_that_somebody_else_ended_is_not_healthy(tmp_path: Path) -> None:
    status, verdict, told = judge(tmp_path, "ended-by-host-ui")
    assert (status, verdict["verdict"]) == (2, "incomplete")
    assert "ended by somebody else (host-ui)" in told


@pytest.mark.parametrize(
    ("status", "words", "has_device", "is_failure"),
    [
        (33, "", False, False), (35, "", False, False),
        (1, "", True, False),  # isa-debug-exit of a 0
        (1, "qemu-system-x86_64: warning: TCG lacks it\n", True, False),
        (1, "qemu-system-x86_64: no disk\n", True, True), (1, "", False, True),
        (3, "", True, False), (124, "", True, True),
        (0, "+ qemu-system-x86_64 -m 1G\n", False, False),  # of a script around it that is content
        (0, "qemu-system-x86_64: terminating on signal 15 from pid 7\n", False, False),
    ],
)  # fmt: skip
def test_an_exit_status_that_its_guest_can_give_is_no_failure_of_qemu(
    status: int, words: str, has_device: bool, is_failure: bool
) -> None:
    outcome = Outcome(exit_status=status, words=words, has_debug_exit=has_device)
    assert bool(failure_words(outcome, is_traced=False)) is is_failure
    assert bool(exit_notes(outcome)) is (status in (1, 3) and not is_failure)


def test_qemu_itself_does_not_leave_with_success_by_its_guests_doing() -> None:
    outcome = Outcome(exit_status=0, is_bare=True)
    assert failure_words(outcome, is_traced=False) and not failure_words(outcome, is_traced=True)


def test_a_panic_behind_what_is_left_out_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.limits.SERIAL_BYTES", 1 << 12)
    status, verdict, told = judge(tmp_path, "late-panic", seconds="20")
    assert (status, verdict["verdict"]) == (1, "faulted")
    assert [each["rule"] for each in verdict["findings"]] == ["kernel-panic"]
    assert "bytes left out" in told


def test_a_log_that_could_not_be_kept_is_not_healthy(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.mknod(tmp_path / "run/interrupts.log", 0o600 | 0o020000, os.stat("/dev/full").st_rdev)
    status, verdict, told = judge(tmp_path, "exit-33", seconds="20")
    assert (status, verdict["verdict"]) != (0, "healthy")
    assert "interrupts.log is not whole: No space left on device" in told


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("echo no disk >&2; exit 3", "exit status 3: no disk"),
        ("sleep 1000 & sleep 1000", "it took more than 0.3 s"),
        ("yes", "it printed more than 1000000 bytes"),
    ],
)
def test_a_capture_command_that_fails_is_not_healthy(
    tmp_path: Path, command: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cr3scope.qemu.capture_command.SECONDS", 0.3)
    monkeypatch.setattr("cr3scope.limits.COMMAND_CAPTURE_BYTES", 1_000_000)
    status, verdict, told = judge(tmp_path, "exit-33", "--capture-command", command)
    assert (status, verdict["verdict"]) == (2, "incomplete")
    assert f"--capture-command: {says}" in told


def test_a_child_that_detaches_itself_is_ended(tmp_path: Path) -> None:
    outcome = play(tmp_path, "detaches", timeout=1.0)
    assert not is_alive(int(outcome.serial.split()[1]))


def test_a_script_that_leaves_its_qemu_behind_leaves_none(tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    script = tmp_path / "wrapper"
    script.write_text(f'#!/bin/sh\nsetsid "{sys.executable}" "{FAKE}" "tell:{told}" "$@" </dev/null &\ncat "{told}" >&2\n')
    script.chmod(0o755)
    try:
        main(["run", "-o", str(tmp_path / "run"), "--timeout", "5", "--", str(script)])
    finally:
        left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if f"tell:{told}".encode() in path.read_bytes()]
    assert not left


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("scenario", ["flood-events", "memory-without-end", "deaf"])
def test_a_signal_ends_the_run_whatever_qemu_does(tmp_path: Path, scenario: str, number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, "run", "-o", str(tmp_path), "--", sys.executable, FAKE, scenario]
    told = tmp_path / "told"
    os.mkfifo(told)
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FAKE_TELLS": str(told)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        told.read_text()
        running.send_signal(number)
        began = time.monotonic()
        printed, complained = running.communicate(timeout=LIMIT)
        assert time.monotonic() - began < PROMPT_SECONDS
    assert running.returncode == 2
    assert "interrupted" in printed and complained == ""
    assert (tmp_path / "interrupts.log").stat().st_size


def test_more_cpus_than_a_machine_has_are_refused() -> None:
    class Monitor:
        def monitor(self, line: str) -> str:
            return "CPU#0\r\n" * 5000

        def execute(self, command: str, **arguments: Any) -> Any:
            raise QmpError(command)

    for ask in (look, stopped_cpus):
        with pytest.raises(QmpError, match="more than 4096 CPUs"):
            ask(Monitor())


def test_ranges_of_ram_are_checked() -> None:
    line = " {:016x}-{:016x} (prio 0, ram): x\n"
    assert ram_ranges(line.format(0, 0xFFF) * 3) == ((0, 0xFFF),)
    for first, last in ((0, (1 << 64) - 1), (0x2000, 0x1000), (0, 1 << 52)):
        with pytest.raises(QmpError, match="no machine has RAM at"):
            ram_ranges(line.format(first, last))
    with pytest.raises(QmpError, match="more than"):
        ram_ranges("".join(line.format(at << 12, at << 12 | 0xFFF) for at in range(5000)))


@pytest.mark.parametrize("name", ["a,b", "a b", "a%d", "a\nb", "a'b", 'a"b', "x" * 120])
def test_channels_never_lie_below_a_name_that_qemu_takes_otherwise(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / name
    odd.mkdir()
    monkeypatch.setenv("TMPDIR", str(odd))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(odd))
    with channels_in(odd) as made:
        assert not made.is_relative_to(odd)
        assert made.stat().st_mode & 0o777 == 0o700
    assert not made.exists()


def test_channels_lie_in_the_runtime_folder_else_in_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, output = Path("/tmp") / f"r{os.getpid()}", Path("/tmp") / f"o{os.getpid()}"
    for folder in (runtime, output):
        folder.mkdir(mode=0o700)
    try:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        with channels_in(output) as made:
            assert made.parent == runtime
        runtime.chmod(0o777)  # anybody could put another one there
        with channels_in(output) as made:
            assert made.parent == output
    finally:
        for folder in (runtime, output):
            folder.rmdir()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a,b", "a b", "a%d%", "a\nb", "a'\"b", "x" * 120])
def test_a_run_takes_a_folder_of_any_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / name
    odd.mkdir()
    monkeypatch.setenv("TMPDIR", str(odd))
    monkeypatch.setattr("tempfile.tempdir", None)
    words = ["run", "-o", str(odd / name), "--json", str(odd / "v.json"), "--"]
    assert main([*words, sys.executable, FAKE, "exit-33"]) == 0
    assert (odd / name / "serial.log").read_bytes().startswith(b"hello")


def test_the_line_to_repeat_a_boot_needs_no_name_that_qemu_changes() -> None:
    line = read_command(["qemu"]).to_repeat(Path("/a %d/again.log"))
    assert "-D" not in line and line.endswith(" 2>'/a %d/again.log'")


OUTPUTS = ("serial.log", "interrupts.log", "qemu.cmd", "machine.txt", "tables.core", "../v.json")


@pytest.mark.slow
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_link_in_the_place_of_an_output_is_not_followed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (folder / name).symlink_to(precious)
    main(["run", "-o", str(folder), "--timeout", "1", "--json", str(tmp_path / "v.json"), "--", sys.executable, FAKE, "screen"])
    assert precious.read_text() == "mine"
    assert not (folder / name).is_symlink() or name == "tables.core"


@pytest.mark.parametrize("name", OUTPUTS[:4])
def test_a_pipe_in_the_place_of_an_output_holds_nobody_up(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    main(["run", "-o", str(tmp_path), "--timeout", "1", "--", sys.executable, FAKE, "screen"])
    assert (tmp_path / name).is_file()


def test_no_place_for_channels_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.qemu.channels._is_fit", lambda _: False)
    with pytest.raises(UnusableInput, match="XDG_RUNTIME_DIR"), channels_in(tmp_path):
        pass


def test_an_answer_that_comes_late_answers_no_other_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.qemu.qmp.REPLY_SECONDS", 0.05)
    ours, theirs = socket.socketpair()
    client = Qmp(ours)
    with pytest.raises(QmpError, match="no answer"):
        client.monitor("info registers")
    theirs.recv(1 << 16)
    theirs.sendall(b'{"return": "old", "id": "human-monitor-command"}\n')
    with pytest.raises(QmpError, match="no answer"):
        client.monitor("xp /1gx 0")
    client.close()
    theirs.close()


def test_a_debugger_stub_that_sends_no_packet_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "gdb"))
        listener.listen()
        stub = GdbStub(tmp_path / "gdb")
        theirs = listener.accept()[0]

        def flood() -> None:
            with contextlib.suppress(OSError):
                while True:
                    theirs.sendall(b"x" * 4096)

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        with pytest.raises(QmpError, match="no packet"):
            while not stub.has_stopped():
                pass
        stub.close()
        thread.join(LIMIT)
        theirs.close()


def test_firmware_pointers_are_looked_for_where_ram_is_and_no_list_of_all_places_is_made() -> None:
    asked: list[int] = []

    class Guest:
        def ram(self) -> list[tuple[int, int]]:
            return [(0, (1 << 52) - 1), (0, (1 << 52) - 1), (4 << 30, (5 << 30) - 1)]

        def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
            asked.extend(places)
            return iter([bytes(length)] * len(asked))

    assert table_counts(Guest()) == []
    _, *asked = asked  # whether a BIOS started the machine
    assert asked[0] == (4 << 30) - (4 << 20) and asked[1023] == 0 and asked[1024] == (1 << 52) - (4 << 20)
    assert len(asked) == len(set(asked)) == 1 << 14
