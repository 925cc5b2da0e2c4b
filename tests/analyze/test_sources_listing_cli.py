"""``maps``, ``walk`` and ``diff`` on listings: nothing is claimed that the text does not tell."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import listing_writer as writer
import pytest
from trace_writer import CODE, ROOT, golden_tables

from cr3scope.cli.main import main

DATA = CODE + 0x1000
W, NX, PCD = 2, 1 << 63, 16
MEMORY = {phys: list(table) for phys, _, table in golden_tables()}
FORMS = ("tlb", "mem", "pt")


def put(folder: Path, form: str, memory: dict[int, list[int]] = MEMORY) -> Path:
    found = writer.leaves(memory, ROOT)
    if form == "mem":
        text = writer.info_mem(found)
    else:
        text = writer.info_tlb(found) if form == "tlb" else writer.ptdump(found)
    path = folder / f"{form}.txt"
    path.write_bytes(text.encode())
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "memory.bin"
    data = bytearray(0x6000)
    for phys, table in MEMORY.items():
        struct.pack_into("<512Q", data, phys, *table)
    path.write_bytes(data)
    return path


def changed(level: int, index: int, flip: int) -> dict[int, list[int]]:
    """The tables with bits of one entry flipped, on the way to the code."""
    memory = {phys: list(table) for phys, table in MEMORY.items()}
    phys = [phys for phys, at, _ in golden_tables() if at == level][0]
    memory[phys][index] ^= flip
    return memory


def ask(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any]]:
    status = main([*map(str, words), "--json", "-"])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, answer


@pytest.mark.parametrize(
    ("form", "rights", "phys", "size", "are"),
    [
        ("tlb", ["r-x-", "rw--"], "0x200000", 4096, "at most"),
        ("mem", ["r-?-", "rw?-"], None, None, "effective"),
        ("pt", ["r-x-", "rw--"], None, 4096, "at most"),
    ],
)
def test_maps_says_what_it_knows_and_null_for_the_rest(
    form: str, rights: list[str], phys: str | None, size: int | None, are: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    status, answer = ask(capsys, "maps", put(tmp_path, form))
    assert (status, answer["schema"]) == (0, "cr3scope.maps/1")
    code, data = answer["mappings"]
    assert [code["rights"], data["rights"]] == rights
    assert (code["first"], code["last"], code["phys"]) == (hex(CODE), hex(CODE + 0xFFF), phys)
    assert (code["size"], code["memory_type"]) == (size, None)
    assert code["level"] == (1 if size else None)
    assert answer["tells"]["rights"] == are
    assert answer["warnings"], "a listing is never the whole truth"


@pytest.mark.parametrize("form", FORMS)
def test_the_text_of_maps_has_a_line_for_each_range_and_the_warning_beside_it(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["maps", str(put(tmp_path, form))]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0].startswith("2 ranges, 8 KiB mapped")
    heading, code, data = lines[-3:]
    assert ("at most" in heading) == (form != "mem")
    assert code.startswith(f"{CODE:016x}  {CODE + 0xFFF:016x}  ")
    assert (" 0000000200000 " in code) == (form == "tlb")
    assert all(len(line) <= 100 for line in lines)
    assert shown.err.startswith("cr3scope: warning: ")


@pytest.mark.parametrize(
    ("form", "address", "options", "outcome", "reason"),
    [
        ("tlb", CODE, (), "translated", None),
        ("tlb", CODE, ("--access", "x"), "unknown", "may deny x"),
        ("tlb", CODE, ("--access", "w"), "fault", "read-only"),
        ("tlb", DATA, ("--access", "w"), "unknown", "may deny w"),
        ("tlb", DATA, ("--access", "x"), "fault", "no-execute"),
        ("mem", DATA, ("--access", "w"), "translated", None),
        ("mem", DATA, ("--access", "x"), "unknown", "does not tell x"),
        ("mem", CODE, ("--user",), "fault", "supervisor only"),
        ("pt", CODE, ("--access", "x", "--user"), "fault", "supervisor only"),
        ("pt", CODE, (), "translated", None),
        ("pt", CODE + 0x5000, (), "fault", "not present"),
    ],
)
def test_an_access_succeeds_only_if_the_listing_says_so(
    form: str, address: int, options: tuple[str, ...], outcome: str, reason: str | None,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    status, answer = ask(capsys, "walk", put(tmp_path, form), f"{address:x}", *options)
    assert status == (0 if outcome == "translated" else 1)
    assert (answer["schema"], answer["outcome"]) == ("cr3scope.walk/1", outcome)
    assert (reason or "") in (answer["reason"] or "")
    assert (answer["levels"], answer["guilty"], answer["error_code"]) == ([], [], None)
    told = form == "tlb" and outcome == "translated"
    assert answer["phys"] == ("0x200000" if told else None)


@pytest.mark.parametrize(
    ("address", "vector"), [("8000000000000000", 13), ("800000000000", None), ("1000", 14)]
)
def test_an_address_that_is_not_listed_faults_by_its_form(
    address: str, vector: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, answer = ask(capsys, "walk", put(tmp_path, "tlb"), address)
    assert (status, answer["vector"]) == (1, vector)
    assert answer["cr2"] == (hex(int(address, 16)) if vector == 14 else None)


def test_the_text_of_a_walk_says_the_range_and_what_is_not_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["walk", str(put(tmp_path, "mem")), f"{CODE + 8:x}", "--access", "x"]) == 1
    first, _, last = capsys.readouterr().out.splitlines()
    assert "is not told" in first and "does not tell x" in first and "succeeds:" not in first
    assert f"{CODE:#x}..{CODE + 0xFFF:#x}" in last and "entries" in last


@pytest.mark.parametrize("form", FORMS)
def test_a_listing_does_not_differ_from_its_tables(
    form: str, tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = put(tmp_path, form)
    for pair in ((text, image), (image, text)):
        status, answer = ask(capsys, "diff", *pair, "--cr3", hex(ROOT))
        assert (status, answer["differences"]) == (0, []), answer
        assert any("not compared" in words for words in answer["warnings"])


@pytest.mark.parametrize(
    ("form", "level", "index", "flip", "differs"),
    [
        ("tlb", 1, 0, NX, True),
        ("tlb", 4, 511, NX, False),  # inherited: not visible
        ("tlb", 4, 511, W, False),
        ("tlb", 1, 1, PCD, True),
        ("tlb", 1, 1, 0x1000, True),
        ("mem", 1, 0, NX, False),
        ("mem", 4, 511, W, True),
        ("mem", 1, 1, 0x1000, False),
        ("pt", 1, 1, W, True),
        ("pt", 1, 1, 0x1000, False),
        ("pt", 1, 1, 1, True),
    ],
)
def test_two_listings_differ_in_what_they_tell(
    form: str, level: int, index: int, flip: int, differs: bool, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = put(tmp_path, form)
    (tmp_path / "after").mkdir()
    after = put(tmp_path / "after", form, changed(level, index, flip))
    status, answer = ask(capsys, "diff", before, after)
    assert (status, answer["equal"]) == (int(differs), not differs), answer
    main(["diff", str(before), str(after)])
    shown = capsys.readouterr().out.splitlines()
    if not differs:
        assert shown == ["the two map the same, as far as both tell"]
    else:
        assert shown[0] == "1 range differs, 4 KiB"
        assert shown[-2] != shown[-1].replace("+", "-"), "the two sides read alike"


def test_a_right_that_the_tables_deny_above_the_leaf_is_no_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], image: Path
) -> None:
    """The tables deny W at the top; the leaf's own bit still shows as granted."""
    data = bytearray(image.read_bytes())
    (value,) = struct.unpack_from("<Q", data, ROOT + 8 * 511)
    struct.pack_into("<Q", data, ROOT + 8 * 511, value & ~W)
    image.write_bytes(data)
    status, _ = ask(capsys, "diff", put(tmp_path, "tlb"), image, "--cr3", hex(ROOT))
    assert status == 0
    status, answer = ask(capsys, "diff", put(tmp_path, "mem"), image, "--cr3", hex(ROOT))
    assert (status, answer["differences"][0]["first"]) == (1, hex(DATA))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("maps", "TEXT", "--cr3", "1000"), "--cr3"),
        (("maps", "TEXT", "--base", "0"), "--base"),
        (("walk", "TEXT", "0", "--dump", "old", "--efer", "d00"), "--efer, --dump"),
        (("diff", "TEXT", "TEXT", "--cr4", "20"), "--cr4"),
        (("diff", "IMAGE", "TEXT", "--cr3", "1000", "--right-cr3", "2000"), "--cr3"),
    ],
)
def test_options_about_tables_are_refused_in_one_line(
    words: tuple[str, ...], says: str, tmp_path: Path, image: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    paths = {"TEXT": str(put(tmp_path, "tlb")), "IMAGE": str(image)}
    assert main([paths.get(word, word) for word in words]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert "holds no tables" in shown.err and says in shown.err


def test_escapes_in_a_damaged_line_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path, "tlb")
    path.write_bytes(path.read_bytes() + b"0000000000003000: 0000000\x1b[2J\x9b31m\x00\n")
    assert main(["maps", str(path)]) == 0
    shown = capsys.readouterr()
    assert "line 3 is cut" in shown.err
    assert (shown.out + shown.err).replace("\n", "").isprintable()


@pytest.mark.parametrize("form", FORMS)
def test_an_address_that_a_damaged_line_may_have_listed_is_not_said_to_fault(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path, form)
    path.write_bytes(path.read_bytes().rstrip()[:-7])
    status, answer = ask(capsys, "walk", path, f"{DATA:x}")
    assert (status, answer["outcome"], answer["vector"]) == (1, "unknown", None)
    status, answer = ask(capsys, "walk", path, f"{CODE:x}")
    assert (status, answer["outcome"]) == (0, "translated")


@pytest.mark.parametrize("line", ["1" * 60_000, " " * 60_000, "0x" + "0" * 60_000, "[000000" + "-0" * 30_000, "0x0000000000000000-" * 3_000])
@pytest.mark.parametrize("form", FORMS)
def test_a_line_of_60_000_characters_takes_no_time_for_each_pair_of_them(
    form: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = put(tmp_path, form)
    path.write_bytes(path.read_bytes() + line.encode() + b"\n")
    began = time.process_time()
    assert main(["maps", str(path)]) == 0
    assert time.process_time() - began < 2
