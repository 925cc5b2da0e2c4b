"""What the C code draws, photographed badly, is read by the Python code as what was traced."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import c_unit
import pytest
from boot.screen_photo import photographed
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.photo.reader import read_photos
from cr3scope.verdict.analysis import analyze

pytest.importorskip("PIL")
pytest.importorskip("zbar")

_CAPTURES = c_unit.ROOT / "tests/captures"
_SIZES = ["800 600 32", "1280 800 24", "1920 1080 32", "3840 2160 16"]


@cache
def program() -> Path:
    return c_unit.build("draw_screen")


def pictures(capture: Path, size: str, folder: Path) -> list[Path]:
    """The pictures that a screen of this size shows in turn."""
    words = [str(program()), *size.split(), str(folder / "screen")]
    subprocess.run(words, input=capture.read_bytes(), check=True, capture_output=True, timeout=60)
    return sorted(folder.glob("screen-*.pgm"))


@pytest.mark.slow
@pytest.mark.parametrize("size", _SIZES)
def test_bad_photos_hold_what_was_traced(size: str, tmp_path: Path) -> None:
    capture = _CAPTURES / "nx-upper-level.serial.log"
    shown = pictures(capture, size, tmp_path)
    assert shown
    photos = [photographed(one, one.with_suffix(".jpg")) for one in shown]
    read = read_photos(photos)
    assert read.damage == []
    told, seen = analyze(read_capture(capture.read_bytes())), analyze(read)
    assert [one.rule for one in seen.findings][:1] == [one.rule for one in told.findings][:1] == ["nx-upper-level"]
    assert seen.prediction == told.prediction and seen.findings[0].entry == told.findings[0].entry


def test_a_screen_without_room_says_so(tmp_path: Path) -> None:
    done = subprocess.run([str(program()), "320", "100", "32", str(tmp_path / "s")], input=b"", capture_output=True, timeout=60)
    assert done.returncode == 1 and b"width or height" in done.stdout
