"""Photos of a screen: what their codes hold is judged like a capture, and what is wrong with them is one line."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from analyze.photo_writer import BEGIN, base45, frame, frames, packed, stream
from cr3scope.cli.main import main
from cr3scope.errors import UnusableInput
from cr3scope.input.capture.kinds import HANDLERS
from cr3scope.input.photo import frames as frames_module, picture
from cr3scope.input.photo.reader import read_photos
from cr3scope.input.photo.signs import is_photo
from cr3scope.input.photo.stream import Damaged, unpack
from cr3scope.input.photo.words import KINDS, WORDS

ROOT = Path(__file__).resolve().parents[2]
FAULT: dict[str, int | str] = {"by": "safe-idt", "vector": 14, "error": 3, "cr2": 0xFFFFFF8000003FF8}


def scanned(tmp_path: Path, texts: Iterable[str]) -> Path:
    path = tmp_path / "codes.txt"
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def words_of_docs() -> list[str]:
    page = (ROOT / "docs/trace-format.md").read_text()
    return page.partition("```words\n")[2].partition("```")[0].split()


def test_docs_writer_and_reader_number_the_same_words() -> None:
    writer = " ".join(re.findall(r'"([^"]*)"', (ROOT / "trace/photo_words.h").read_text())).split()
    assert words_of_docs() == list(WORDS) == writer


def test_every_kind_that_the_reader_knows_has_a_number() -> None:
    assert set(HANDLERS) <= set(KINDS)


def test_every_key_that_is_written_has_a_number() -> None:
    written: set[str] = set()
    for part in ("trace", "loader", "kernel"):
        for source in (ROOT / part).rglob("*.c"):
            written.update(re.findall(r'trace_(?:text|hex|list|data)\([^"]{1,60}, *"([a-z0-9_]+)"', source.read_text()))
    of_checks = {"detail", "pass", "fail"}  # which are left out on purpose
    assert {"vector", "why", "serial"} <= written and written - of_checks <= set(WORDS)


def test_records_come_back_with_numbers_and_checksums(tmp_path: Path) -> None:
    data = stream(BEGIN, ("error", {"where": "request", "what": "no%20root"}))
    capture = read_photos([scanned(tmp_path, reversed(frames(data, 12)))])
    assert capture.damage == [] and capture.boots[0].errors == [("request", "no root", 0)]


@pytest.mark.parametrize("name", ["healthy", "healthy-two-cpus"])
def test_a_whole_boot_comes_back_byte_by_byte(name: str) -> None:
    golden = (ROOT / f"tests/captures/{name}.serial.log").read_bytes()
    kept = [line.split(b" ", 2)[2].rpartition(b" #")[0] for line in unpack(packed(golden)).text.splitlines()]
    whole = [line.split(b"\n")[0].strip().split(b" ", 1)[1].rpartition(b" #")[0] for line in golden.split(b"@c3s1 ")[1:]]
    assert len(kept) > 80 and all(one in whole for one in kept)


def test_a_photo_of_a_healthy_boot_speaks_of_no_evidence_that_it_does_not_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = (ROOT / "tests/captures/healthy.serial.log").read_bytes()
    assert main(["analyze", str(scanned(tmp_path, frames(packed(golden), 200)))]) == 2
    said = capsys.readouterr().out
    assert said.startswith("INCOMPLETE: the plan survives in the model; of what came behind the switch the photo tells nothing\n")
    assert "error" not in said and "log" not in said


def test_an_exception_that_comes_first_was_written_last() -> None:
    text = unpack(stream(("fault", FAULT), BEGIN)).text.decode()
    assert [line.split()[2] for line in text.splitlines()] == ["begin", "fault"]


def test_missing_frames_are_named_and_never_clean(tmp_path: Path) -> None:
    data = stream(BEGIN, ("error", {"where": "a", "what": "b"}))
    texts = frames(data, 12)
    capture = read_photos([scanned(tmp_path, texts[:-1])])
    assert any(" 1 is missing (" in str(one.message) for one in capture.damage)
    without_first = read_photos([scanned(tmp_path, texts[1:])])
    assert without_first.boots == [] and without_first.damage


def test_a_photo_without_a_code_is_told_beside_one_with_a_damaged_code(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    damaged, none = scanned(tmp_path, ["C3S:ABCDEF", *frames(stream(BEGIN), 9)[:1]]), scanned(tmp_path / "2", [])
    with pytest.raises(UnusableInput, match="2/codes.txt: no code of cr3scope"):
        read_photos([damaged, none])


def test_a_damaged_code_is_no_damage_once_all_codes_are_there_and_is_told(tmp_path: Path) -> None:
    texts = frames(stream(BEGIN, ("error", {"where": "a", "what": "b"})), 12)
    capture = read_photos([scanned(tmp_path, ["C3S:ABCDEF", *texts])])
    assert capture.damage == [] and any("are damaged were not used" in str(one.message) for one in capture.notes)
    assert any("checksum is wrong" in str(one.message) for one in read_photos([scanned(tmp_path, ["C3S:ABCDEF", *texts[:-1]])]).damage)


def test_blanks_behind_a_code_are_none_of_it(tmp_path: Path) -> None:
    assert read_photos([scanned(tmp_path, [f"{text} \t\r" for text in frames(stream(BEGIN), 9)])]).damage == []


def test_records_that_had_no_room_are_damage(tmp_path: Path) -> None:
    capture = read_photos([scanned(tmp_path, frames(stream(BEGIN, lost=3), 99))])
    assert "3 records had no room" in str(capture.damage[0].message)


@pytest.mark.parametrize(
    "texts,words",
    [
        ([*frames(stream(BEGIN), 9)[:1], *frames(stream(BEGIN, lost=1), 9)[1:]], "two different screens"),
        ([frame(1, 0, 2, b"a"), frame(1, 0, 2, b"b")], "two different codes"),
        ([frame(1, 0, 1, b"a")], "checksum over all"),
        (["C3S:" + base45(bytes(20))], "checksum is wrong"),
        ([frame(1, 2, 2, b"a")], "number 3 of 2"),
        ([frame(1, 0, 1, b"a", version=9)], "version 9"),
        (["C3S:a"], "a character that no frame has"),
        (["C3S:ABC:::"], "cut, or misread"),
        (["C3S:"], "checksum is wrong"),
    ],
)
def test_what_is_wrong_with_codes_is_one_line(
    texts: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", str(scanned(tmp_path, texts))]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


@pytest.mark.parametrize("data", [b"", b"\1", b"\2\0\0", b"\1\0\0\xff", b"\1\0\0\1\0", b"\1\0\0\1\xff", b"\1\0\0\1\1\0", b"\1\0\0\1\1\1\x99"])
def test_streams_that_break_the_format_are_refused(data: bytes) -> None:
    with pytest.raises(Damaged):
        unpack(data)


def test_no_text_of_a_stream_can_forge_a_record() -> None:
    for text in ("a\n@c3s1 0 begin", "a #12345678", "\x1b[2J", "a b"):
        with pytest.raises(Damaged):
            unpack(stream(("begin", {"producer": text})))


def test_random_bytes_give_an_error_or_a_capture(tmp_path: Path) -> None:
    dice = random.Random(20)
    good = stream(BEGIN, ("fault", FAULT))
    for _ in range(300):
        data = bytearray(good)
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        path = scanned(tmp_path, frames(bytes(data), 40))
        try:
            read_photos([path])
        except UnusableInput:
            pass


def picture_file(tmp_path: Path, data: bytes, name: str = "photo.png") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_a_photo_of_something_else_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = picture_file(tmp_path, b"P5\n64 64\n255\n" + bytes(64 * 64), "cat.pgm")
    assert main(["analyze", str(path)]) == 2
    assert capsys.readouterr().err == f"cr3scope: {path}: no code of cr3scope is found in it\n"


@pytest.mark.parametrize(
    "data,words",
    [(b"\x89PNG\r\n\x1a\nnothing", "photo.png: this picture cannot be read: it begins like one, and is none or is cut\n"), (b"\0\0\0\x20ftypheic", "HEIC"), (b"P5\n99999 99999\n255\n", "pixels"), (b"\xff\xd8\xff\xe0", "cannot be read")],
)
def test_broken_and_huge_pictures_are_one_line(data: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(picture_file(tmp_path, data))]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_a_text_that_is_called_a_picture_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = picture_file(tmp_path, b"hello\n")
    assert main(["analyze", str(path)]) == 2
    assert capsys.readouterr().err == f"cr3scope: no cr3scope record in {path}\n"


def test_without_its_libraries_a_photo_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture_file(tmp_path, b"P5\n4 4\n255\n" + bytes(16))
    monkeypatch.setattr(picture.shutil, "which", lambda _name: None)
    monkeypatch.setattr(picture.importlib, "import_module", _absent)
    with pytest.raises(UnusableInput, match="needs Pillow and zbar"):
        read_photos([path])


def _absent(_name: str) -> Any:
    raise ImportError


def test_captures_are_no_photos_and_several_need_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = ROOT / "tests/captures/golden.trace"
    assert not is_photo(capture)
    assert main(["analyze", str(capture), str(capture)]) == 2
    assert "only photos of one screen" in capsys.readouterr().err


def test_a_console_that_begins_like_a_bitmap_is_none(tmp_path: Path) -> None:
    assert not is_photo(picture_file(tmp_path, b"BMC console\n" + (ROOT / "tests/captures/golden.trace").read_bytes()))
    assert is_photo(picture_file(tmp_path, b"BM\x36\x30\0\0\0\0\0\0\x36\0\0\0"))


def test_base45_is_that_of_its_specification() -> None:
    assert base45(b"Hello!!") == "%69 VD92EX0" and frames_module._unspelled("%69 VD92EX0") == b"Hello!!"
