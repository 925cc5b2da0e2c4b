"""The text of a source line stands below `file:line`, where its file can be read, and nothing is said where not."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from test_images_lines import BASE, CALL_LINE, SOURCE, image, return_address
from test_render_html import Tags
from test_render_html import verdict as html_verdict

from cr3scope.images.elf_file import ElfFile
from cr3scope.images.place import Place
from cr3scope.images.source_text import MOST_COLUMNS, SourceLine, SourceText, line_of_file, source_text
from cr3scope.images.symbols import Symbols
from cr3scope.render import html, json as json_form, text
from cr3scope.verdict.assemble import assemble
from cr3scope.verdict.case import Case

CALL = "int made = table_make(level);"


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_line_is_trimmed_and_its_tabs_are_blanks(tmp_path: Path) -> None:
    path = put(tmp_path / "x.c", "one\n\t\tif (a)\tb();  \r\nthree")
    assert [line_of_file(path, n) for n in (1, 2, 3)] == ["one", "if (a)  b();", "three"]


@pytest.mark.parametrize("number", [-1, 0, 4, 10**9, 1 << 64])
def test_a_line_that_the_file_does_not_have_has_no_text(tmp_path: Path, number: int) -> None:
    assert line_of_file(put(tmp_path / "x.c", "one\ntwo\nthree\n"), number) is None


@pytest.mark.parametrize("number", [1, 2])
def test_a_binary_file_has_no_text(tmp_path: Path, number: int) -> None:
    assert line_of_file(put(tmp_path / "x.c", b"\x7fELF\0\0\ntext\n"), 1) is None
    assert line_of_file(put(tmp_path / "x.c", b"a\0b\ntext\n"), number) is None


def test_what_could_steer_a_terminal_is_left_out(tmp_path: Path) -> None:
    path = put(tmp_path / "x.c", b"\x1b[2Jmap(\x9b\x07\xe2\x80\xae\xff);\x0b\n")
    shown = line_of_file(path, 1)
    assert shown is not None and shown.isprintable() and shown.startswith("[2Jmap(") and shown.endswith(");")


def test_a_line_is_never_wider_than_the_report(tmp_path: Path) -> None:
    path = put(tmp_path / "x.c", "x" * 100_000 + "\n" + "\u4e16" * 200 + "\n" + "y" * MOST_COLUMNS)
    narrow, wide, whole = (line_of_file(path, n) for n in (1, 2, 3))
    assert narrow == "x" * (MOST_COLUMNS - 2) + ".."
    assert wide == "\u4e16" * ((MOST_COLUMNS - 2) // 2) + ".."
    assert whole == "y" * MOST_COLUMNS


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)  # to open it would wait for ever
    for path in (fifo, tmp_path, Path("/dev/zero"), tmp_path / "absent", Path("a\0b"), Path("x" * 5000)):
        assert line_of_file(path, 1) is None


def test_a_file_that_nobody_may_read_has_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "x.c", "one\n")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # root may read all

    assert line_of_file(path, 1) == "one"
    monkeypatch.setattr(Path, "open", denied)
    assert line_of_file(path, 1) is None


def test_a_file_is_looked_for_where_it_was_compiled_then_below_the_working_directory() -> None:
    assert SourceLine("loader/x.c", 1, "/src").files == (Path("/src/loader/x.c"), Path("loader/x.c"))
    assert SourceLine("/usr/x.c", 1, "/src").files == (Path("/usr/x.c"),)
    assert SourceLine("loader/x.c", 1, "").files == (Path("loader/x.c"),)
    assert SourceLine("loader/x.c", 1, "build").files == (Path("loader/x.c"),)


@pytest.mark.parametrize("name", ["../x.c", "a/../../x.c", ".."])
def test_a_name_that_leads_out_of_the_working_directory_is_not_followed_from_there(name: str) -> None:
    assert SourceLine(name, 1, "").files == ()
    assert SourceLine(name, 1, "/src/build").files == (Path("/src/build", name),)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """An object that was compiled in `there`, of `loader/map.c`."""
    put(tmp_path / "there/loader/map.c", SOURCE)
    command = ["gcc", "-g", "-O1", "-fPIC", "-shared", "-nostdlib", "-fno-optimize-sibling-calls"]
    subprocess.run([*command, "-o", "loader.so", "loader/map.c"], cwd=tmp_path / "there", check=True, timeout=60)
    return tmp_path / "there/loader.so"


def told(elf: Path) -> SourceText | None:
    """What is told of the only call."""
    symbols = Symbols([image()], [ElfFile(elf)])
    source = symbols.line_of_call(BASE + return_address(elf))
    assert source == f"loader/map.c:{CALL_LINE}"
    return symbols.text(source)


def test_the_text_is_read_where_it_was_compiled(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(built.parent.parent / "elsewhere/loader/map.c", "another\n" * 9)
    monkeypatch.chdir(built.parent.parent / "elsewhere")
    found = told(built)
    assert found is not None and (found.number, found.text, found.is_newer) == (CALL_LINE, CALL, False)


def test_a_checkout_that_was_moved_is_found_from_within(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = built.parent.rename(built.parent.parent / "moved")
    monkeypatch.chdir("/")
    assert told(moved / "loader.so") is None
    monkeypatch.chdir(moved)
    found = told(moved / "loader.so")
    assert found is not None and found.text == CALL


def test_a_file_that_became_shorter_has_no_text(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    put(built.parent / "loader/map.c", "int map_range(int);\n")
    assert told(built) is None


def test_of_two_files_of_one_name_that_differ_none_is_shown(built: Path) -> None:
    other = put(built.parent.parent / "other/loader/map.c", SOURCE.replace("made", "done")).parent.parent
    command = ["gcc", "-g", "-O1", "-fPIC", "-shared", "-nostdlib", "-fno-optimize-sibling-calls"]
    subprocess.run([*command, "-o", "loader.so", "loader/map.c"], cwd=other, check=True, timeout=60)
    call = return_address(built)
    symbols = Symbols((), [ElfFile(built, 0x10_0000), ElfFile(other / "loader.so", 0x20_0000)])
    sources = {symbols.line_of_call(base + call) for base in (0x10_0000, 0x20_0000)}
    assert sources == {f"loader/map.c:{CALL_LINE}"}
    assert symbols.text(sources.pop() or "") is None
    assert symbols.text("never/told.c:1") is None


def test_a_verdict_tells_the_text_and_that_the_file_was_changed_since(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    symbols = Symbols([image()], [ElfFile(built)])
    source = symbols.line_of_call(BASE + return_address(built)) or ""
    plain = html_verdict()
    case = Case((replace(plain.findings[0], source=source),), plain.prediction, plain.observation)
    seen = assemble(case, symbols)
    assert seen.diagnostics == ()
    lines = text.render(seen).splitlines()
    at = lines.index(f"   source  {source}")
    assert lines[at + 1] == f"           {CALL_LINE} | {CALL}"
    assert json_form.as_dict(seen)["findings"][0]["source_text"] == CALL  # type: ignore[index]
    assert f"{CALL_LINE} | {CALL}" in Tags(html.render(seen)).words

    elf_time = built.stat().st_mtime
    os.utime(built.parent / "loader/map.c", (elf_time + 5, elf_time + 5))
    newer = assemble(case, symbols)
    assert [note.message for note in newer.diagnostics] == [
        f"loader/map.c: changed since {built} was built: its lines may have moved"
    ]


def test_without_a_file_nothing_is_shown_and_json_has_null() -> None:
    plain = html_verdict()
    assert assemble(Case(plain.findings), Symbols((), ())).source_texts == {}
    assert json_form.as_dict(plain)["findings"][0]["source_text"] is None  # type: ignore[index]
    lines = text.render(plain).splitlines()
    assert lines[lines.index("   source  loader/x.c:87") + 1].startswith("   proof")


def test_source_text_can_neither_add_a_tag_nor_leave_the_page() -> None:
    evil, plain = (SourceText("loader/x.c", 87, words) for words in ("<script>alert(1)</script>" + "x" * 75, "x"))
    seen = replace(html_verdict(), source_texts={"loader/x.c:87": evil})
    page = html.render(seen)
    assert "<script>alert" not in page and Tags(page).names == Tags(html.render(replace(seen, source_texts={"loader/x.c:87": plain}))).names
    assert max(map(len, text.render(seen).splitlines())) == 100


def test_places_have_the_text_of_their_line_below_them() -> None:
    plain = html_verdict()
    assert plain.observation is not None
    place = Place("RIP", 0x1000, "f", "a.S:7")
    seen = replace(plain, observation=replace(plain.observation, places=(place,)),
                   source_texts={"a.S:7": SourceText("a.S", 7, "mov %rax, %cr3")})  # fmt: skip
    lines = text.render(seen).splitlines()
    at = lines.index("  code  RIP=0x1000 is f, a.S:7")
    assert lines[at + 1] == "        7 | mov %rax, %cr3"
    assert source_text(SourceLine("absent.c", 1), Path("absent.elf")) is None
