"""``diff`` between sources of different kinds: what one cannot tell is no difference."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from trace_writer import ROOT, Writer, dump_stream, golden_tables, put_cpu

from cr3scope.cli.main import main

PAT = 0x0106_0506_0007_0401  # field 0 is write-combining


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    writer = Writer()
    for when in ("entry", "handoff"):
        put_cpu(writer, when, cr0=0x8001_0033, cr3=ROOT, cr4=0x668, efer=0xD00, pat=PAT)
    writer.dump("old", ROOT, 4, dump_stream([(ROOT, 4, [0] * 512)]), 1)
    writer.dump("new", ROOT, 4, dump_stream(golden_tables()), 4)
    writer.end()
    path = tmp_path / "serial.log"
    path.write_bytes(writer.data)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    data = bytearray(0x6000)
    for phys, _, table in golden_tables():
        struct.pack_into("<512Q", data, phys, *table)
    path = tmp_path / "memory.bin"
    path.write_bytes(data)
    return path


def ask(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any]]:
    status = main(["diff", *map(str, words), "--json", "-"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, answer


def test_memory_does_not_tell_the_pat_and_so_equals_the_capture(
    capture: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pair in ((capture, image), (image, capture)):
        status, answer = ask(capsys, *pair, "--cr3", hex(ROOT))
        assert (status, answer["differences"]) == (0, [])


def test_maps_says_that_the_pat_is_assumed(
    capture: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["maps", str(image), "--cr3", hex(ROOT)]) == 0
    assert "PAT" in capsys.readouterr().err
    assert main(["maps", str(capture)]) == 0
    assert capsys.readouterr().err == ""


def test_each_side_may_be_another_dump_of_one_capture(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = ask(capsys, capture, capture, "--dump", "old", "--right-dump", "new")
    assert (status, answer["equal"]) == (1, False)
    assert all(one["left"] is None and one["right"] for one in answer["differences"])
    status, answer = ask(capsys, capture, capture, "--right-dump", "old")
    assert all(one["right"] is None and one["left"] for one in answer["differences"])


def test_a_warning_names_the_side_that_it_is_about(
    capture: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, answer = ask(capsys, capture, image, "--cr3", hex(ROOT))
    assert [warning.split(":")[0] for warning in answer["warnings"]] == [str(image)]


@pytest.mark.parametrize("side", [0, 1])
def test_either_side_that_cannot_be_used_is_status_2(
    side: int, capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = [str(capture), str(capture)]
    pair[side] = str(tmp_path / "absent")
    assert main(["diff", *pair]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1 and pair[side] in shown.err


def test_a_report_that_cannot_be_written_is_one_line_and_status_2(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "absent" / "diff.json"
    for verb in (["diff", str(capture)], ["maps"], ["walk"]):
        words = [*verb, str(capture), *(["0"] if verb == ["walk"] else [])]
        assert main([*words, "--json", str(target)]) == 2
        shown = capsys.readouterr()
        assert shown.err.count("\n") == 1 and str(target) in shown.err
