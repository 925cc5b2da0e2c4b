"""``walk``, ``maps`` and ``diff`` on every kind of source: answers, JSON contracts, complaints."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from trace_writer import CODE, ROOT, Writer, dump_stream, golden, golden_tables, put_cpu

from cr3scope.cli.main import main

DATA = CODE + 0x1000
NX = 1 << 63


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "serial.log"
    path.write_bytes(b"BdsDxe: starting\r\n" + golden().data)
    return path


def memory() -> bytes:
    """Physical memory from 0 on with the golden tables."""
    image = bytearray(0x6000)
    for phys, _, table in golden_tables():
        image[phys : phys + 0x1000] = struct.pack("<512Q", *table)
    return bytes(image)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "memory.bin"
    path.write_bytes(memory())
    return path


def core(note: bytes = b"", kind: int = 4) -> bytes:
    """An ELF core as ``dump-guest-memory`` lays it out: a note and one run of memory."""
    data = memory()
    notes = struct.pack("<III8s", 5, len(note), 0, b"QEMU") + note if note else b""
    heads = 64 + 2 * 56
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", kind, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 4, 0, heads, 0, 0, len(notes), len(notes), 0)
    run = (heads + len(notes), 0, 0, len(data), len(data), 0)
    return head + struct.pack("<IIQQQQQQ", 1, 0, *run) + notes + data


def qemu_note(cr3: int, cr4: int = 0x668) -> bytes:
    control = struct.pack("<5Q", 0x8001_0033, 0, 0, cr3, cr4)
    return struct.pack("<II", 1, 440) + bytes(384) + control + bytes(8)


def ask(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any]]:
    status = main([*map(str, words), "--json", "-"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, answer


def test_a_translation_follows_the_contract(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = ask(capsys, "walk", capture, f"{CODE + 0x123:#x}", "--access", "x")
    assert status == 0
    assert answer["schema"] == "cr3scope.walk/1"
    assert (answer["outcome"], answer["phys"], answer["page_size"], answer["rights"]) == (
        "translated", "0x200123", 4096, "r-x-"
    )  # fmt: skip
    assert answer["error_code"] is None
    assert [(at["level"], at["index"]) for at in answer["levels"]] == [
        (4, 511), (3, 510), (2, 0), (1, 0)
    ]  # fmt: skip
    assert answer["levels"][0] == {
        "level": 4, "index": 511, "phys": hex(ROOT + 8 * 511), "value": "0x2003", "veto": ["u"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("address", "options", "code"),
    [
        (CODE, ("--access", "w"), 0x03),
        (DATA, ("--access", "x"), 0x11),
        (CODE, ("--user",), 0x05),
        (CODE + 0x2000, (), 0x00),
        (0, ("--access", "w", "--user"), 0x06),
    ],
)
def test_a_fault_tells_its_error_code(
    capture: Path, capsys: pytest.CaptureFixture[str], address: int, options: Any, code: int
) -> None:
    status, answer = ask(capsys, "walk", capture, f"{address:x}", *options)
    assert (status, answer["outcome"], answer["error_code"]) == (1, "fault", code)
    assert (answer["vector"], answer["cr2"], answer["phys"]) == (14, f"{address:#x}", None)


def test_a_non_canonical_address_is_a_general_protection_fault(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = ask(capsys, "walk", capture, "8000000000000000")
    assert (status, answer["vector"], answer["cr2"], answer["levels"]) == (1, 13, None, [])


def test_the_text_of_a_walk_names_the_guilty_entry_in_its_first_line(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["walk", str(capture), f"{DATA:x}", "--access", "x"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert "no-execute" in shown[0] and "PT[1]" in shown[0] and "0011" in shown[0]
    assert all(len(line) <= 100 for line in shown)


def test_mappings_follow_the_contract(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, answer = ask(capsys, "maps", capture)
    assert (status, answer["schema"]) == (0, "cr3scope.maps/1")
    # The golden capture's PAT is 0 throughout, which is uncacheable.
    shared: dict[str, Any] = {"size": 4096, "level": 1, "memory_type": "uc"}
    code = {"first": hex(CODE), "last": hex(CODE + 0xFFF), "phys": "0x200000", "rights": "r-x-"}
    data = {"first": hex(DATA), "last": hex(DATA + 0xFFF), "phys": "0x201000", "rights": "rw--"}
    assert [{**code, **shared}, {**data, **shared}] == [
        {key: told[key] for key in (*code, *shared)} for told in answer["mappings"]
    ]


@pytest.mark.parametrize("kind", ["image", "core", "core without note"])
def test_memory_gives_the_same_mappings_as_the_capture(
    kind: str, tmp_path: Path, capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [] if kind == "core" else ["--cr3", hex(ROOT)]
    contents = {"image": memory(), "core": core(qemu_note(ROOT)), "core without note": core()}
    path = tmp_path / "memory"
    path.write_bytes(contents[kind])
    _, expected = ask(capsys, "maps", capture)
    status, answer = ask(capsys, "maps", path, *options)
    assert status == 0

    def places(found: dict[str, Any]) -> list[tuple[str, ...]]:
        return [(m["first"], m["last"], m["phys"], m["rights"]) for m in found["mappings"]]

    assert places(answer) == places(expected)


def test_an_image_may_start_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "memory.bin"
    path.write_bytes(memory()[0x1000:])
    status, answer = ask(
        capsys, "walk", path, f"{CODE:x}", "--cr3", f"{ROOT:x}", "--base", "1000"
    )
    assert (status, answer["phys"]) == (0, "0x200000")


def test_a_table_that_lies_outside_of_an_image_is_no_fault_of_the_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "memory.bin"
    path.write_bytes(memory()[:0x2000])  # the root, and nothing below it
    status, answer = ask(capsys, "walk", path, f"{CODE:x}", "--cr3", f"{ROOT:x}")
    assert (status, answer["outcome"], answer["vector"], answer["rights"], answer["guilty"]) == (1, "unknown", None, "????", [])
    assert any("does not hold the table at" in warning for warning in answer["warnings"])
    main(["walk", str(path), f"{CODE:x}", "--cr3", f"{ROOT:x}"])
    assert "not known: PML4[511] points to the table at" in capsys.readouterr().out


def test_registers_may_be_named(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, answer = ask(capsys, "walk", image, f"{DATA:x}", "--cr3", f"{ROOT:x}", "--efer", "500")
    assert (answer["outcome"], answer["error_code"]) == ("fault", 9)


def test_a_missing_table_page_is_reported_and_the_rest_is_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    holed = bytearray(memory())
    struct.pack_into("<Q", holed, 0x1000 + 8 * 3, 0x7F00_0003)
    path = tmp_path / "memory.bin"
    path.write_bytes(holed)
    status, answer = ask(capsys, "maps", path, "--cr3", hex(ROOT))
    assert (status, len(answer["mappings"])) == (0, 2)
    assert any("0x7f000000" in words and "PML4[3]" in words for words in answer["warnings"])


def test_nothing_but_json_goes_to_standard_output(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["maps", capture], ["walk", capture, "0"], ["diff", capture, capture]):
        main([*map(str, words), "--json", "-"])
        shown = capsys.readouterr().out
        json.loads(shown)


def test_json_goes_to_a_file_beside_the_text(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "maps.json"
    assert main(["maps", str(capture), "--json", str(target)]) == 0
    assert json.loads(target.read_text())["schema"] == "cr3scope.maps/1"
    assert capsys.readouterr().out.startswith("2 ranges")


def changed(capture: Path, level: int, index: int, value: int) -> Path:
    """A capture whose tables differ in one entry."""
    tables = golden_tables()
    tables[4 - level][2][index] = value
    writer = Writer()
    put_cpu(writer, "handoff", cr0=0x8001_0033, cr3=ROOT, cr4=0x668, efer=0xD00)
    writer.dump("new", ROOT, 4, dump_stream(tables), 4)
    writer.end()
    path = capture.with_name("changed.log")
    path.write_bytes(writer.data)
    return path


def test_equal_address_spaces_do_not_differ(
    capture: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = ask(capsys, "diff", capture, capture)
    assert (status, answer["schema"], answer["equal"], answer["differences"]) == (
        0, "cr3scope.diff/1", True, []
    )  # fmt: skip


def test_rights_frames_and_absence_are_differences(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for value, field, right in (
        (0x20_1063, "rights", "rwx-"),
        (0x30_1063 | NX, "phys", "0x301000"),
        (0, None, None),
    ):
        status, answer = ask(capsys, "diff", capture, changed(capture, 1, 1, value))
        (only,) = answer["differences"]
        assert (status, only["first"], only["last"]) == (1, hex(DATA), hex(DATA + 0xFFF))
        assert only["left"]["rights"] == "rw--"
        assert only["right"] is None if field is None else only["right"][field] == right


def test_accessed_and_dirty_bits_are_no_difference(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _ = ask(capsys, "diff", capture, changed(capture, 1, 1, 0x20_1003 | NX))
    assert status == 0


@pytest.mark.parametrize(
    ("contents", "options", "says"),
    [
        (b"", (), "empty"),
        (b"no trace of anything\n" * 300, (), "--cr3"),
        (memory(), ("--cr3", "9000000"), "no table at CR3"),
        (core(qemu_note(ROOT))[:90], (), "core"),
        (core(), (), "--cr3"),
        (core(qemu_note(ROOT), kind=2), (), "no core"),
        (b"\x7fELF" + b"\xff" * 200, (), "core"),
        (b"@c3s2 0 begin producer=a version=1 #00000000\n", (), "version 2"),
        (golden().data, ("--dump", "old"), "no intact dump `old`"),
        (golden().data, ("--cr3", "5000"), "CR3 0x5000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_is_one_line_that_names_the_file(
    contents: bytes, options: tuple[str, ...], says: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "input"
    path.write_bytes(contents)
    for verb in (["maps", str(path)], ["walk", str(path), "0"], ["diff", str(path), str(path)]):
        assert main([*verb, *options]) == 2
        shown = capsys.readouterr()
        assert shown.out == "" and shown.err.count("\n") == 1
        assert says in shown.err


def test_a_path_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        assert main(["maps", str(path)]) == 2
        assert str(path) in capsys.readouterr().err


def test_damage_elsewhere_in_the_capture_is_a_warning(
    capture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture.write_bytes(golden().data.replace(b"first%20fetch", b"First%20fetch"))
    _, answer = ask(capsys, "maps", capture)
    assert any("damaged" in words for words in answer["warnings"])
