"""A serial line that is listened at: for one alone, as it is on the wire, and left as it was found."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from cr3scope.cli.main import main
from cr3scope.errors import UnusableInput
from cr3scope.wire.claim import Claim
from cr3scope.wire.line import open_line
from cr3scope.wire.source import Kind, Source

PACKAGES = Path(__file__).resolve().parents[2] / "scripts/analyze"
LIMIT = 30.0  # seconds, for what takes a fraction of one
# In use by somebody whose terminal it is, with a break that throws away what came before, and another speed.
OWN_INPUT = termios.BRKINT | termios.ICRNL | termios.IXON | termios.IMAXBEL


@pytest.fixture
def line() -> Iterator[int]:
    ours, theirs = os.openpty()
    settings = termios.tcgetattr(theirs)
    settings[0] = OWN_INPUT
    settings[4] = settings[5] = termios.B9600
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    yield theirs
    os.close(ours)
    os.close(theirs)


def source(line: int) -> Source:
    return Source(Kind.SERIAL, os.ttyname(line), os.ttyname(line))


def test_a_line_has_its_settings_again_when_nobody_listens_any_more(line: int) -> None:
    before = termios.tcgetattr(line)
    opened = open_line(source(line), 57600)
    assert termios.tcgetattr(line) != before
    opened.close()
    assert termios.tcgetattr(line) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_line_has_its_settings_again_after_a_signal(number: signal.Signals, line: int, tmp_path: Path) -> None:
    before = termios.tcgetattr(line)
    words = "import sys; from cr3scope.cli.main import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", words, "listen", os.ttyname(line), "-o", tmp_path], env={**os.environ, "PYTHONPATH": str(PACKAGES)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as listener:  # fmt: skip
        assert listener.stderr is not None and "listening" in listener.stderr.readline()
        assert termios.tcgetattr(line) != before
        listener.send_signal(number)
        listener.wait(LIMIT)
    assert termios.tcgetattr(line) == before


def test_a_break_is_a_byte_and_throws_nothing_away(line: int) -> None:
    opened = open_line(source(line))
    assert not termios.tcgetattr(line)[0] & (OWN_INPUT & ~termios.IMAXBEL)  # that is of lines that are edited alone
    opened.close()


def test_a_line_that_somebody_has_for_himself_is_refused_to_root_too(line: int) -> None:
    before = termios.tcgetattr(line)
    fcntl.ioctl(line, termios.TIOCEXCL)
    with pytest.raises(UnusableInput, match="somebody else listens at it"):
        open_line(source(line))
    assert termios.tcgetattr(line) == before
    fcntl.ioctl(line, termios.TIOCNXCL)
    open_line(source(line)).close()


def test_a_speed_that_the_driver_has_not_is_refused(line: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 16550 that is told 1 Mbaud says yes, and goes on with 115200."""
    before = termios.tcgetattr(line)
    monkeypatch.setattr(Claim, "speed", lambda _claim: 115200)
    with pytest.raises(UnusableInput, match="it does not take 1000000 baud: it would listen at 115200"):
        open_line(source(line), 1_000_000)
    assert termios.tcgetattr(line) == before
    open_line(source(line), 114_000).close()  # what a divisor makes of it


def test_the_speed_of_a_line_is_what_its_driver_says(line: int) -> None:
    claim = Claim(os.ttyname(line))
    assert claim.speed() in (9600, None)
    claim.give_back()


@pytest.mark.parametrize("name", ["/dev/ptmx", "/dev/zero"])
def test_a_device_at_which_nobody_speaks_is_refused_at_once(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", name, "-o", str(tmp_path), "--timeout", "5"]) == 2
    assert capsys.readouterr().err == f"cr3scope: {name}: a device, but no serial line that could be set up\n"
