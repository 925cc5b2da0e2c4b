"""A machine with a screen and no more: what it shows is photographed, and judged."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import cycle
from pathlib import Path

import pytest
from boot import firmware
from boot.fault_rows import Row, of_row, rows
from boot.guest import qemu_command
from boot.reference import make
from boot.screen_photo import photographed
from boot.shared_run import shared_run
from boot.test_one_call import multiboot_command
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.photo.reader import read_photos
from cr3scope.qemu.qmp import Listener, Qmp
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status

pytest.importorskip("PIL")
pytest.importorskip("zbar")

SAMPLE, EVERY_ROW = 30, "CR3SCOPE_TEST_PHOTOS"  # of how many rows `make test` takes one, at one size each; `make test-photos` takes all at all
_NO_ROOM = "had no room in the codes"
_SECONDS, _LOOK_SECONDS = 60, 0.03
_SIZES = ["800 600 32", "1280 800 24", "1920 1080 32", "3840 2160 32"]


def machine(words: str, folder: Path) -> AbstractContextManager[Qmp]:
    """A multiboot kernel on a machine with a display, until it stands still."""
    return monitored([*multiboot_command("screen", words), "-vga", "none", "-device", "VGA,vgamem_mb=64,addr=2"], folder)


@contextmanager
def monitored(machine: list[str], folder: Path) -> Iterator[Qmp]:
    """A QEMU and its monitor; what it says is in ``serial``."""
    listener = Listener(folder / "qmp")
    process = subprocess.Popen([*machine, "-serial", f"file:{folder / 'serial'}", "-qmp", f"unix:{folder / 'qmp'}"])
    try:
        assert select.select([listener.fileno()], [], [], _SECONDS)[0], "QEMU does not answer"
        monitor = listener.accept()
        try:
            yield monitor
        finally:
            monitor.close()
    finally:
        process.kill()
        process.wait()
        listener.close()


def dumped(monitor: Qmp, path: Path) -> Path:
    monitor.execute("screendump", filename=str(path))
    return path


def halted(monitor: Qmp) -> None:
    """Waits until the CPU halts for good, of which QEMU tells nothing. Each look stops the machine: without a break that is most of its work."""
    end = time.monotonic() + _SECONDS
    while "HLT=1" not in monitor.monitor("info registers"):
        assert time.monotonic() < end, "the guest does not halt"
        select.select([monitor.fileno()], [], [], _LOOK_SECONDS)


@pytest.mark.parametrize("size,mistake,rule", [(_SIZES[2], 5, "nx-leaf-code"), (_SIZES[3], 16, "stack-readonly")])
def test_a_photo_of_a_dead_kernel_says_why(size: str, mistake: int, rule: str, tmp_path: Path) -> None:
    with machine(f"{size} {mistake}", tmp_path) as monitor:
        halted(monitor)
        picture = dumped(monitor, tmp_path / "screen.ppm")
    capture = read_photos([photographed(picture, tmp_path / "photo.jpg")])
    verdict = analyze(capture)
    assert capture.damage == [] and verdict.status is Status.FAULTED and verdict.agreement is True
    assert verdict.findings[0].rule == rule
    heard = analyze(read_capture((tmp_path / "serial").read_bytes()))
    assert verdict.findings[0].entry == heard.findings[0].entry and verdict.observation == heard.observation


def test_picture_of_a_kernel_whose_tables_are_right_stays_its_own(tmp_path: Path) -> None:
    with machine("800 600 32 0", tmp_path) as monitor:
        halted(monitor)
        picture = dumped(monitor, tmp_path / "screen.ppm").read_bytes()
    assert b" outcome=ok " in (tmp_path / "serial").read_bytes()
    assert picture.startswith(b"P6\n800 600\n255\n") and set(picture[len(b"P6\n800 600\n255\n") :]) == {0x5A}


@pytest.mark.parametrize(("program", "rule"), [("gnu_efi", "stack-unmapped"), ("pe", "nx-upper-level")])
def test_a_photo_of_an_example_that_will_not_switch_says_why(program: str, rule: str, tmp_path: Path) -> None:
    words = qemu_command(tmp_path, make(f"examples/{program}.mistake.efi"), {"QEMU": firmware.stand_in({})})
    place = next(number for number, word in enumerate(words) if word.startswith("isa-debug-exit"))
    port, words[place] = words[place], "isa-debug-exit,iobase=0x501"  # the program's last word ends nothing
    assert "iobase=0xf4" in port
    with monitored(words, tmp_path) as monitor:
        halted(monitor)
        picture = dumped(monitor, tmp_path / "screen.ppm")
    capture = read_photos([photographed(picture, tmp_path / "photo.jpg")])
    verdict = analyze(capture)
    assert b"the switch was refused" in (tmp_path / "serial").read_bytes()
    assert capture.damage == [] and verdict.status is Status.WILL_FAULT and verdict.findings[0].rule == rule


@pytest.mark.parametrize("words", ["800 600 32 5 100", "1024 768 32 5 4294967295"])
def test_a_frame_buffer_of_absurd_pitch_is_told_and_nothing_drawn(words: str, tmp_path: Path) -> None:
    with machine(words, tmp_path) as monitor:
        halted(monitor)
        picture = dumped(monitor, tmp_path / "screen.ppm").read_bytes()
    serial = (tmp_path / "serial").read_bytes()
    assert re.search(rb"^screen: nothing is drawn on the frame buffer at 0xf[0-9a-f]{7}: its pitch is shorter", serial, re.MULTILINE)
    assert b"cr3scope: exception 14 " in serial and not any(picture[16:])


def on_screens() -> list[tuple[Row, list[str]]]:
    """Each row at each size; of a sample each row at another one."""
    if os.environ.get(EVERY_ROW) == "1":
        return [(row, _SIZES) for row in rows()]
    return [(row, [size]) for row, size in zip(rows()[::SAMPLE], cycle(_SIZES))]


@pytest.mark.parametrize(("row", "sizes"), [pytest.param(*each, id=each[0].inject) for each in on_screens()])
def test_every_fault_is_read_from_bad_photos_at_four_sizes(row: Row, sizes: list[str], tmp_path: Path) -> None:
    run = shared_run(**of_row(row, "safe"))
    told = analyze(read_capture(run.serial))
    for size in sizes:
        folder = tmp_path / size.replace(" ", "-")
        folder.mkdir()
        command = [str(make("host/draw_screen")), *size.split(), str(folder / "screen")]
        subprocess.run(command, input=run.serial, check=True, capture_output=True, timeout=_SECONDS)
        photos = [photographed(one, one.with_suffix(".jpg")) for one in sorted(folder.glob("*.pgm"))]
        read = read_photos(photos)
        if any(_NO_ROOM in str(one.message) for one in read.damage):  # tables of garbage: some hundred of them
            assert analyze(read).status is Status.INCOMPLETE, size
            continue
        assert read.damage == [], size
        assert analyze(read).prediction == told.prediction, size
