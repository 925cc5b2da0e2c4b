"""`cr3scope listen`: several boots in one piece, and the forms of their verdicts."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from analyze.test_listen import DIES, HEALTHY, LIMIT, PANIC, beside, fifo, heard_at, words

from cr3scope.cli import listen_verdict
from cr3scope.cli.main import main
from cr3scope.images.elf_file import ElfFile
from cr3scope.qemu.signals import Signals
from cr3scope.verdict.types import Verdict
from cr3scope.wire import boots, listener, reader
from cr3scope.wire.heard import End, Heard


def test_a_file_that_cannot_be_written_costs_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit, absent = tmp_path / "junit.xml", tmp_path / "absent" / "page.html"
    with fifo(tmp_path, DIES, DIES) as path:
        status, verdicts = heard_at(path, tmp_path, "--boots", "2", "-q", "--html", str(absent), "--junit", str(junit))
    assert status == 2 and [each["verdict"] for each in verdicts] == ["will-fault", "will-fault"]
    assert f"cr3scope: {absent}: No such file or directory\n" in capsys.readouterr().err
    assert 'failures="1" errors="0"' in junit.read_text()  # of the last boot, not of the file


@pytest.mark.parametrize("form", ["junit", "sarif"])
def test_a_document_for_each_boot_is_not_put_behind_another(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", str(tmp_path), f"--{form}", "-"]) == 2
    assert f"cr3scope: --{form} -: a document for each boot" in capsys.readouterr().err


def test_what_a_guest_says_is_no_command_for_a_runner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fifo(tmp_path, b"::error::hello\n##[error]hello\n", DIES) as path:
        heard_at(path, tmp_path, "--once", "--github")
    out, err = capsys.readouterr()
    assert "hello" not in err and "::error" not in out.partition("::stop-commands::")[0]


def test_boots_that_come_in_one_piece_are_told_apart_without_a_time_between_them(tmp_path: Path) -> None:
    firmware = b'BdsDxe: starting Boot0001 "x"\r\n'
    with fifo(tmp_path, firmware + PANIC + firmware + DIES[: len(DIES) // 2] + DIES) as path:
        _, verdicts = heard_at(path, tmp_path, "--boots", "3", "-q")
    assert [each["verdict"] for each in verdicts] == ["faulted", "incomplete", "will-fault"]
    assert "the machine began to boot again" in words(verdicts[1]) and "after its last word" not in words(verdicts[1])


def test_the_maker_of_the_firmware_begins_no_boot() -> None:
    """On its machines Linux tells it with the first lines."""
    told = b"[    0.0] efi: EFI v2.7 by American Megatrends\r\n[    0.0] DMI: American Megatrends X, BIOS InsydeH2O Version 1\r\n"
    assert boots.BootCutter().feed(HEALTHY + told) == [HEALTHY + told]
    assert len(boots.BootCutter().feed(HEALTHY + b"\x1b[01;01HAmerican Megatrends\r\n")) == 2


def test_each_line_of_json_says_which_boot_it_is_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fifo(tmp_path, DIES, DIES) as path:
        heard_at(path, tmp_path, "-q", "--json", "-", "--boots", "2")
    lines = [json.loads(line)["heard"] for line in capsys.readouterr().out.splitlines()]
    assert [(each["number"], Path(each["capture"]).name) for each in lines] == [(1, "boot-001.log"), (2, "boot-002.log")]
    assert [each["bytes"] for each in lines] == [Path(each["capture"]).stat().st_size for each in lines]
    assert lines[0]["ended"] == "began-again"


@pytest.mark.parametrize("is_late", [False, True], ids=["read", "on the line"])
def test_while_what_came_is_taken_nobody_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_late: bool) -> None:
    """Of a machine that spoke without end it was said that it had said nothing for 41 s: so long one piece had taken.

    ``is_late``: there was no room for the next one meanwhile.
    """
    clock = [0.0]
    monkeypatch.setattr(listener.time, "monotonic", lambda: clock[0])
    ready, wake = os.pipe2(os.O_NONBLOCK)
    os.write(wake, b"." if is_late else b"...")
    events: list[list[reader.Event]] = [[reader.Came(b"hello\n", 0.0)], [reader.Came(b"more\n", 90.0)], [reader.Gone("the console ended", is_last=True)]]
    ends: list[End] = []

    def take() -> list[reader.Event]:
        try:
            os.read(ready, 1)
        except BlockingIOError:
            return []
        return events.pop(0)

    def heard(boot: Heard) -> bool:
        ends.append(boot.end)
        return True

    def said(_data: bytes) -> None:
        clock[0] += 80.0

    def has_more() -> bool:
        if is_late:
            os.write(wake, b".")
        return is_late

    source = SimpleNamespace(descriptor=ready, take=take, losses=list, has_more=has_more)
    ear = SimpleNamespace(said=said, quiet=lambda: None, heard=heard, remark=lambda _words: None)
    with Signals() as signals:
        listener.Listener(source, tmp_path, listener.Patience(15.0), ear, signals).run()  # type: ignore[arg-type]
    os.close(ready)
    os.close(wake)
    assert ends == [End.CLOSED]


def test_what_tells_nothing_is_said_in_100_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with fifo(tmp_path, b"hello\n") as path:
        heard_at(path, tmp_path, "--once", "-q")
    (headline,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("INCOMPLETE"))
    assert "tells how it went" in headline and len(headline) <= 100


@contextmanager
def serving(*calls: bytes, then: Callable[[], object] = bool) -> Iterator[str]:
    """The name of a server that says one thing at each call, and hangs up; what it does before that is ``then``."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT)

        def speak() -> None:
            for said in calls:
                connected, _ = server.accept()
                with connected:
                    connected.sendall(said)
                    then()

        with beside(speak):
            yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_server_that_hangs_up_again_and_again_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cr3scope.wire.reader.RETRY_SECONDS", 0.01)
    with serving(*[b""] * 6, DIES) as name:
        _, verdicts = heard_at(name, tmp_path, "--once", "-q")
    err = capsys.readouterr().err
    assert [each["verdict"] for each in verdicts] == ["will-fault"]
    assert err.count("closed at the other end") == 2 and err.count("tried until it speaks") == 1 and err.count("it is there") == 1


def test_a_busy_server_makes_some_files_and_is_told_once_that_it_makes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cr3scope.wire.reader.RETRY_SECONDS", 0.01)
    with serving(*[b"port in use\r\n"] * 20, DIES) as name:
        _, verdicts = heard_at(name, tmp_path, "--boots", "6", "-q")
    assert [each["verdict"] for each in verdicts] == ["incomplete"] * 5 + ["will-fault"]  # the first call, and four more
    assert [each["heard"]["number"] for each in verdicts] == [1, 2, 3, 4, 5, 6]
    assert len(list((tmp_path / "o").iterdir())) == 12
    assert capsys.readouterr().err.count("no more of them are kept") == 1


def test_what_was_judged_before_a_server_hung_up_stays_where_the_verdict_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cr3scope.wire.reader.RETRY_SECONDS", 0.01)
    is_judged, judged = threading.Semaphore(0), listen_verdict.judge_heard

    def judge(boot: Heard, elf: Sequence[ElfFile]) -> tuple[Verdict, bool]:
        is_judged.release()
        return judged(boot, elf)

    monkeypatch.setattr(listen_verdict, "judge_heard", judge)
    with serving(*[b"port in use\r\n"] * 6, DIES, then=lambda: is_judged.acquire(timeout=LIMIT)) as name:
        heard_at(name, tmp_path, "--boots", "7", "-q", "--idle", "0.1", "--json", "-")
    told = [json.loads(line)["heard"] for line in capsys.readouterr().out.splitlines()]
    assert [each["number"] for each in told] == [1, 2, 3, 4, 5, 6, 7]
    assert all(Path(each["capture"]).exists() for each in told)
