"""What a CI job asks of a guest's words: --expect, --fail, --until, --idle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from analyze.test_machine_guest import AT_ONCE
from analyze.test_machine_hostile import judge

from cr3scope import limits
from cr3scope.cli.main import main
from cr3scope.qemu.awaited import Awaited, line_of
from cr3scope.qemu.serial_port import SerialPort, Sign

WINDOW = 1024
GOES_ON = "says:busy\r\nall is ready\r\nlogin: "


@pytest.mark.parametrize(
    ("options", "status", "verdict", "ended"),
    [
        (["--until", "login: $"], 0, "healthy", "awaited"),
        (["--until", r"^all is \w+"], 0, "healthy", "awaited"),
        (["--until", "login:", "--expect", "ready"], 0, "healthy", "awaited"),
        (["--until", "login:", "--expect", "never this"], 1, "hung", "awaited"),
        (["--fail", "is ready"], 1, "faulted", "refused"),
        (["--fail", "not said", "--until", "login"], 0, "healthy", "awaited"),
        (["--expect", "ready"], 0, "healthy", "timeout"),
        (["--expect", "never this"], 1, "hung", "timeout"),
        (["--until", "never this"], 1, "hung", "timeout"),
    ],
)
def test_the_words_of_a_guest_decide(options: list[str], status: int, verdict: str, ended: str, tmp_path: Path) -> None:
    found, told, _ = judge(tmp_path, GOES_ON, *options, seconds="4" if ended == "timeout" else "20")
    assert (found, told["verdict"]) == (status, verdict), told
    assert told["observation"]["ended"] == ended, told


def test_what_was_said_and_what_was_not_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, told, remarks = judge(tmp_path, GOES_ON, "--until", "login", "--expect", "a b", seconds="20")
    assert "the guest never said 'a b' (--expect)" in remarks
    assert capsys.readouterr().out.splitlines()[0] == "HUNG: the guest never said 'a b' (--expect)"
    _, told, _ = judge(tmp_path, GOES_ON, "--fail", "ready", seconds="20")
    [finding] = told["findings"]
    assert (finding["rule"], finding["title"]) == ("kernel-panic", "the guest said what it must not say: all is ready")


def test_until_ends_the_run_at_once(tmp_path: Path) -> None:
    _, told, _ = judge(tmp_path, GOES_ON, "--until", "login", seconds=str(10 * AT_ONCE))
    assert told["observation"]["ended"] == "awaited"


def test_an_idle_guest_is_done_a_busy_one_is_not(tmp_path: Path) -> None:
    found, told, _ = judge(tmp_path, "says:done\r\n", "--idle", "1", "--until", "more", seconds=str(AT_ONCE))
    assert (found, told["observation"]["ended"]) == (0, "idle"), told
    _, told, _ = judge(tmp_path, GOES_ON, "--idle", "0.5", seconds="4")
    assert told["observation"]["ended"] == "timeout", told


@pytest.mark.parametrize("option", ["--expect", "--fail", "--until"])
@pytest.mark.parametrize("pattern", ["(", "*", "a{99999999999}", "[z-a]"])
def test_what_is_no_regular_expression_is_told(option: str, pattern: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", option, pattern, "--", "qemu"])
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and f"{option}: {pattern!r} is no regular expression: " in said[-1], said


def test_a_word_that_comes_in_pieces_is_found_once(tmp_path: Path) -> None:
    port = SerialPort(tmp_path / "serial.log", Awaited(re.compile(b"ready"), re.compile(b"bad.thing"), re.compile(b"login:")))
    assert [port.feed(data) for data in (b"all is rea", b"dy\nsome bad", b"\x80thing, twice: bad thing\nlog")] == [[], [], [Sign.REFUSED]]
    assert [each.option for each in port.unsaid] == ["--until"] and port.refused == "some bad\ufffdthing, twice: bad thing"
    assert port.feed(b"in: ") == [Sign.AWAITED] and not port.unsaid
    port.close()


@pytest.mark.parametrize(
    ("pieces", "pattern", "is_said"),
    [
        ([b"all done\r\nmore"], b"^all done$", True),
        ([b"all done\r", b"\nmore"], b"done$", True),
        ([b"a\r\nb"], rb"a\r\nb", True),
        ([b"x" * 4 + b"done" + b"." * (WINDOW - 4), b"\n"], b"^done", False),
        ([b"x" * 4 + b"done" + b"." * (WINDOW - 4), b"\n" * 4, b"y"], b"^.one", False),
    ],
)
def test_a_line_begins_and_ends_where_the_guest_lets_it(pieces: list[bytes], pattern: bytes, is_said: bool, tmp_path: Path) -> None:
    port = SerialPort(tmp_path / "serial.log", Awaited(re.compile(pattern, re.MULTILINE)))
    for piece in pieces:
        port.feed(piece)
    port.close()
    assert (not port.unsaid) is is_said


@pytest.mark.parametrize(
    ("text", "pattern", "line"),
    [(b"a\nbb c\nd", b"b", "bb c"), (b"one", b"n", "one"), (b"x\r\ny z\r\n", b"z", "y z"), (b"a\nb", b"a\nb", "a\nb"), (b"", b"", "")],
)  # fmt: skip
def test_the_line_of_a_match(text: bytes, pattern: bytes, line: str) -> None:
    match = re.search(pattern, text)
    assert match and line_of(text, match) == line


@pytest.mark.parametrize("option", ["--expect", "--fail", "--until"])
def test_a_pattern_that_takes_for_ever_on_a_guests_line_is_given_up_and_said_so(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PATTERN_SECONDS", 0.05)
    status, told, remarks = judge(tmp_path, f"says:busy\r\n{'a' * 60}b\r\n", option, "(a|aa)+$", seconds="4")
    assert (status, told["verdict"]) == (2, "incomplete"), told
    assert f"{option}: its pattern takes over 0.05 s on what the guest said: whether that was said is not known" in remarks


def test_a_pattern_that_was_given_up_costs_no_more_time_and_hides_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limits, "PATTERN_SECONDS", 0.05)
    port = SerialPort(tmp_path / "serial.log", Awaited(expect=re.compile(b"(a|aa)+$"), until=re.compile(b"done")))
    assert port.feed(b"a" * 60 + b"b") == [] and port.too_slow == ["--expect"]
    monkeypatch.setattr(limits, "PATTERN_SECONDS", 1e-6)
    assert port.feed(b"a" * 60) == [] and port.too_slow == ["--expect"]
    monkeypatch.setattr(limits, "PATTERN_SECONDS", 10)
    assert port.feed(b" done") == [Sign.AWAITED]
    port.close()
