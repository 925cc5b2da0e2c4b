"""Standard streams that are closed, full or of eight bits, disks without room, and signals: one line, and the right status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from analyze.storm_log import firmware, record
from analyze.test_machine_hostile import PROGRAM
from trace_writer import golden

from cr3scope.cli.main import main
from cr3scope.cli.triage import pieces
from cr3scope.render.output_file import write_asked

FULL = "/dev/full"


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    capture = tmp_path / "capture.log"
    capture.write_bytes(golden().data)
    return capture


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a shell gets of a line in which `cr3scope` is the command."""
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHON": sys.executable, "PROGRAM": PROGRAM}
    function = 'cr3scope() { "$PYTHON" -c "$PROGRAM" "$@"; }\n'
    return subprocess.run(
        ["sh", "-c", function + line], env={**os.environ, **own, **environment}, capture_output=True, text=True,
        errors="replace", timeout=60,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("where", [f"2>{FULL}", "2>&-"])
def test_who_does_not_hear_the_complaint_still_gets_the_status(where: str) -> None:
    assert shell(f"cr3scope analyze /no/such/file {where}; echo $?").stdout == "2\n"


def test_a_reader_of_complaints_that_goes_away_changes_no_status(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", PROGRAM, "analyze", tmp_path / "absent"], stderr=writer, timeout=60,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    os.close(writer)
    assert done.returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("words", ["nonsense", "maps", "explain no-such-rule"])
@pytest.mark.parametrize("where", [f"2>{FULL}", "2>&-"])
def test_a_wrong_command_line_is_status_2_whoever_hears_it(words: str, where: str) -> None:
    assert shell(f"cr3scope {words} {where}; echo $?").stdout == "2\n"


@pytest.mark.slow
@pytest.mark.parametrize(("where", "why"), [(f">{FULL}", "No space left on device"), (">&-", "Bad file descriptor")])
@pytest.mark.parametrize("verb", ["analyze", "maps", "explain", "--help", "analyze --json -"])
def test_an_answer_that_cannot_be_printed_is_one_line(verb: str, where: str, why: str, healthy: Path) -> None:
    file = "" if verb in ("explain", "--help") else str(healthy)
    done = shell(f"cr3scope {verb} {file} {where}")
    assert (done.returncode, done.stderr) == (2, f"cr3scope: standard output: {why}\n")


def test_a_closed_input_is_one_line() -> None:
    done = shell("cr3scope triage - <&-")
    assert (done.returncode, done.stderr) == (2, "cr3scope: standard input: Bad file descriptor\n")


@pytest.mark.slow
def test_no_file_takes_the_place_of_a_closed_stream(healthy: Path) -> None:
    before = healthy.read_bytes()
    shell(f"cr3scope analyze {healthy} --json {healthy.parent}/v.json <&- >&- 2>&-")
    assert healthy.read_bytes() == before
    assert (healthy.parent / "v.json").read_text().startswith("{")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_encoding_of_eight_bits_gets_escapes(encoding: str, tmp_path: Path) -> None:
    odd = tmp_path / "größe\N{SNOWMAN}.log"
    odd.write_text("".join([*firmware(), record(150, 14, 0x11)]))
    done = shell(f"cr3scope triage '{odd}' --capture '{odd}'", PYTHONIOENCODING=encoding)
    assert "internal error" not in done.stderr
    done = shell(f"cr3scope analyze '{odd}x'", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "\\u2603" in done.stderr


@pytest.mark.parametrize("option", ["--json", "--html", "--junit", "--sarif", "--markdown"])
def test_a_file_that_cannot_be_written_costs_the_file_and_not_the_verdict(
    option: str, healthy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", str(healthy), option, FULL]) == 2
    shown = capsys.readouterr()
    assert shown.out.startswith("HEALTHY")
    assert shown.err == f"cr3scope: {FULL}: No space left on device\n"


def test_a_file_is_there_whole_or_as_it_was(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"new"
        raise OSError(28, "No space left on device")

    target = tmp_path / "v.json"
    target.write_text("old")
    with pytest.raises(OSError, match=str(target)):
        write_asked(target, pieces())
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


@pytest.mark.slow
def test_a_file_that_the_user_names_may_be_a_way_to_somewhere_else(healthy: Path) -> None:
    assert shell(f"cr3scope analyze {healthy} --json /dev/stderr").stderr.startswith("{")
    assert shell(f"cr3scope analyze {healthy} --json /dev/null").returncode == 0
    pipe = healthy.parent / "pipe"
    os.mkfifo(pipe)
    assert shell(f"cat {pipe} >&2 & cr3scope analyze {healthy} --json {pipe}; wait").stderr.startswith("{")
    done = shell(f"cr3scope analyze {healthy} --json {pipe}")
    assert (done.returncode, done.stderr) == (2, f"cr3scope: {pipe}: a pipe that nobody reads\n")


def test_a_link_is_replaced_and_not_followed(healthy: Path) -> None:
    target = healthy.parent / "v.json"
    target.symlink_to(healthy)
    before = healthy.read_bytes()
    assert main(["maps", str(healthy), "--json", str(target)]) == 0
    assert healthy.read_bytes() == before and not target.is_symlink()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)])
def test_a_signal_leaves_no_copy_of_the_log(tmp_path: Path, number: signal.Signals, status: int) -> None:
    with subprocess.Popen(
        ["env", "--default-signal", sys.executable, "-c", PROGRAM, "triage", "-"],  # nohup, and all below it, know no SIGHUP
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
    ) as running:  # fmt: skip
        assert running.stdin is not None
        running.stdin.write("".join(firmware()) * 100)  # more than a pipe holds: it is being read
        running.stdin.flush()
        running.send_signal(number)
        assert running.wait(60) == status
        assert running.stderr is not None
        assert running.stderr.read() == ("" if number == signal.SIGKILL else f"cr3scope: ended by {number.name}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_silent_pipe_is_waited_for_in_bounded_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that came right before a read would wait as long as that does."""
    reader, writer = os.pipe()
    turns: list[float] = []

    def waits(sources: list[object], _write: object, _error: object, seconds: float) -> tuple[list[object], ...]:
        turns.append(seconds)
        if len(turns) == 3:
            os.write(writer, b"said")
        return (sources if len(turns) >= 3 else [], [], [])

    monkeypatch.setattr("cr3scope.cli.triage.select.select", waits)
    with open(reader, "rb") as source:
        assert next(pieces(source)) == b"said"
    os.close(writer)
    assert len(turns) == 3 and max(turns) <= 1


def test_who_is_started_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(firmware()))
    line = f'trap "" HUP; "$PYTHON" -c "import os; os.kill(os.getpid(), 1); $PROGRAM" triage {log}'
    assert shell(line).returncode == 0


def test_no_room_for_the_copy_is_one_line(tmp_path: Path) -> None:
    done = shell("echo x | cr3scope triage -", TMPDIR=str(tmp_path))
    assert "internal error" not in done.stderr
