"""`maps` names each range by what the trace says, and no byte by a name that it was not given."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_writer import CODE, ROOT, Writer, dump_stream, golden_tables, put_cpu

from cr3scope.cli.main import main
from cr3scope.input.capture.records import Boot, ImageRecord, MapRecord, RegionRecord
from cr3scope.model.intent import Intent
from cr3scope.model.range_names import RangeName, range_names
from cr3scope.paging.effective import Mappings
from cr3scope.render import maps

PAGE = 0x1000
PHYS = 0x20_0000


def rows(*ranges: tuple[int, int, int]) -> Mappings:
    """Ranges by first, last and frame."""
    first, last, phys = (np.array(column, dtype=np.uint64) for column in zip(*ranges, strict=True))
    return Mappings(first, last, phys, np.full(len(ranges), 1 << 3, dtype=np.uint64), 6)


def mapped(name: str, virt: int, last: int, phys: int = PHYS) -> MapRecord:
    return MapRecord(0, name, "", virt, last, phys, "rw-", PAGE, "wb", 0)


def region(name: str, virt: int, last: int) -> RegionRecord:
    return RegionRecord(0, name, "", virt, last, None)


def told(boot: Boot, *ranges: tuple[int, int, int], is_planned: bool = True) -> list[str | None]:
    names = range_names(rows(*ranges), Intent(boot), is_planned)
    return [None if at < 0 else maps.name_words(names.names[at]) for at in names.of_row.tolist()]


def test_a_range_that_one_name_covers_has_that_name() -> None:
    boot = Boot(maps=[mapped("stack", PAGE, 5 * PAGE - 1)])
    assert told(boot, (PAGE, 5 * PAGE - 1, PHYS), (2 * PAGE, 3 * PAGE - 1, PHYS + PAGE)) == ["stack", "stack"]


def test_names_that_cover_a_range_together_stand_in_the_order_of_their_addresses() -> None:
    boot = Boot(maps=[mapped("constants", 2 * PAGE, 3 * PAGE - 1), mapped("text", 0, 2 * PAGE - 1),
                      mapped("text", 3 * PAGE, 4 * PAGE - 1)])  # fmt: skip
    assert told(boot, (0, 4 * PAGE - 1, PHYS)) == ["text, constants"]


def test_a_range_that_is_named_in_part_is_never_named_as_a_whole() -> None:
    boot = Boot(maps=[mapped("stack", 2 * PAGE, 4 * PAGE - 1)])
    assert told(boot, (0, 8 * PAGE - 1, PHYS)) == ["in it: stack 0x2000..0x3fff"]
    for first, last in ((PAGE, 4 * PAGE - 1), (2 * PAGE, 4 * PAGE)):
        assert told(boot, (first, last, PHYS)) == ["in it: stack 0x2000..0x3fff"]


def test_the_narrowest_name_counts_and_of_equals_the_one_that_was_mapped() -> None:
    boot = Boot(
        maps=[mapped("everything", 0, 16 * PAGE - 1), mapped("tables", 2 * PAGE, 3 * PAGE - 1)],
        regions=[region("gdt", 2 * PAGE, 2 * PAGE + 0x4F), region("boot info", 8 * PAGE, 9 * PAGE - 1)],
    )
    assert told(boot, (0, 16 * PAGE - 1, PHYS)) == ["everything, tables, boot info"]
    assert told(boot, (2 * PAGE, 3 * PAGE - 1, PHYS)) == ["tables"]


def test_what_fills_a_page_in_part_does_not_name_the_rest_of_it() -> None:
    boot = Boot(regions=[region("tss", PAGE, PAGE + 0x67)])
    assert told(boot, (PAGE, 2 * PAGE - 1, PHYS)) == ["in it: tss 0x1000..0x1067"]


def test_memory_that_is_mapped_again_where_nobody_named_it_is_known_by_its_frames() -> None:
    boot = Boot(maps=[mapped("frame buffer", PAGE, 3 * PAGE - 1, 0xC000_0000)])
    window, half = 0xFFFF_FF00_0000_0000, 0xC000_1000
    assert told(boot, (window, window + PAGE - 1, half)) == ["frames of frame buffer"]
    assert told(boot, (window, window + 2 * PAGE - 1, half)) == [None]  # the second frame is nobody's


def test_of_the_firmwares_tables_images_alone_are_known() -> None:
    image = ImageRecord(0, "loader.efi", 4 * PAGE, 2 * PAGE, None, 0, 0, None)
    boot = Boot(maps=[mapped("stack", 0, 16 * PAGE - 1)], images=[image])
    assert told(boot, (0, 8 * PAGE - 1, 0), (8 * PAGE, 9 * PAGE - 1, PHYS), is_planned=False) == [
        "in it: loader.efi 0x4000..0x5fff", None
    ]


def test_the_ends_of_the_address_space_are_named_as_well() -> None:
    top = (1 << 64) - PAGE
    boot = Boot(maps=[mapped("first", 0, PAGE - 1), mapped("last", top, top + PAGE - 1)])
    assert told(boot, (0, PAGE - 1, 0), (top, top + PAGE - 1, PHYS)) == ["first", "last"]


def test_an_empty_image_and_an_empty_name_name_nothing() -> None:
    boot = Boot(maps=[mapped("", 0, PAGE - 1)], images=[ImageRecord(0, "none", 0, 0, None, 0, 0, None)])
    assert told(boot, (0, PAGE - 1, 0)) == [None]


def test_hostile_names_are_cleaned_and_cut() -> None:
    boot = Boot(maps=[mapped("\x1b[2J" + "é" * 5000, 0, PAGE - 1)])
    (name,) = told(boot, (0, PAGE - 1, 0))
    assert name is not None and name.startswith("\\x1b[2J") and len(name) < 80


ranges = st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda at: (at[0] << 10, (at[0] + at[1] << 10) - 1))


@pytest.mark.slow
@given(st.lists(ranges, max_size=8), st.lists(ranges, max_size=4), ranges)
def test_every_piece_is_what_a_look_at_each_byte_says(
    maps_: list[tuple[int, int]], regions: list[tuple[int, int]], row: tuple[int, int]
) -> None:
    """Bytes in steps of 1 KiB: names may begin and end within a page."""
    boot = Boot(maps=[mapped(f"m{n}", *at, phys=1 << 40) for n, at in enumerate(maps_)],
                regions=[region(f"r{n}", *at) for n, at in enumerate(regions)])
    intent = Intent(boot)

    def at_byte(byte: int) -> str | None:
        covering = [n for n in [*intent.regions, *intent.maps] if byte in n]
        pages = [n.last // PAGE - n.virt // PAGE for n in covering]
        return next((n.name for n, p in reversed(list(zip(covering, pages))) if p == min(pages)), None)

    bytes_ = [at_byte(byte) for byte in range(row[0], row[1], 1 << 10)]
    names = range_names(rows((*row, 1 << 41)), intent)
    if not any(bytes_):
        assert names.names == ()
        return
    (found,) = names.names
    assert found.is_whole == all(bytes_)
    assert {piece.name for piece in found.pieces} == {name for name in bytes_ if name}
    if not found.is_whole:
        pieces = [next((p.name for p in found.pieces if p.first <= byte <= p.last), None)
                  for byte in range(row[0], row[1], 1 << 10)]  # fmt: skip
        assert pieces == bytes_


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """The golden tables, whose first page a record names and whose second none does."""
    writer = Writer()
    put_cpu(writer, "handoff", cr0=0x8001_0033, cr3=ROOT, cr4=0x668, efer=0xD00)
    writer.put("region", name="kernel é", role="text", virt=CODE, last=CODE + 0xFFF)
    writer.dump("new", ROOT, 4, dump_stream(golden_tables()), 4)
    writer.end()
    path = tmp_path / "capture.log"
    path.write_bytes(writer.data)
    return path


def test_the_verb_names_ranges_in_text_and_json(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["maps", str(capture)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[3].endswith("name; denied above the leaf")
    assert shown[4].endswith("  kernel é") and shown[5].endswith("4K")
    assert main(["maps", str(capture), "--json", "-"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["mappings"]] == ["kernel é", None]


def test_a_list_too_long_for_vetoes_has_names_as_well(
    capture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "_MOST_NAMED", 0)
    assert main(["maps", str(capture)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[3].endswith("  page  name")
    assert shown[4].endswith("  4K    kernel \\xe9") and shown[5].rstrip().endswith("4K")


def test_a_source_without_a_trace_has_no_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = bytearray(0x6000)
    for phys, _level, entries in golden_tables():
        image[phys : phys + PAGE] = np.array(entries, dtype="<u8").tobytes()
    path = tmp_path / "memory.img"
    path.write_bytes(image)
    assert main(["maps", str(path), "--cr3", f"{ROOT:x}", "--json", "-"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["mappings"]] == [None, None]


def test_names_of_many_pieces_are_counted_not_listed() -> None:
    boot = Boot(maps=[mapped(f"m{n}", 2 * n * PAGE, (2 * n + 1) * PAGE - 1) for n in range(30)])
    (name,) = told(boot, (0, 60 * PAGE - 1, PHYS))
    assert name is not None and name.endswith("and 22 more") and isinstance(
        range_names(rows((0, 60 * PAGE - 1, PHYS)), Intent(boot)).names[0], RangeName)
