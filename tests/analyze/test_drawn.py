"""Pictures of tables for papers and issues: they stand alone, and nothing that a guest names gets out of its place."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from analyze.page_scenes import CAPTURES
from paging_cases import NX, ROOT, P, Pages, U, W

from cr3scope import limits
from cr3scope.cli.main import main
from cr3scope.paging.folded import Folded, folded
from cr3scope.paging.layers import Marks
from cr3scope.render import dot, tree_drawn
from cr3scope.text import printable
from cr3scope.x86.cpu_state import CpuState

NX_UPPER = str(CAPTURES / "nx-upper-level.serial.log")
HOSTILE = '</text><script>alert(1)</script> "]; evil [label="\\N\x1b[31m\u202e&'
FLAGS = P | W | U
SVG = "{http://www.w3.org/2000/svg}"


def made(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def many(marked: Marks | None = None) -> Folded:
    """A tree of more lines than a picture has."""
    pages = Pages()
    for number in range(60):
        table = 0x100000 + number * 0x10000
        pages.put(ROOT, 2 * number, table | FLAGS)
        for index in range(20):
            pages.put(table, 2 * index, 0x900000 | FLAGS | (NX if (number >> index % 8) & 1 else 0))
    return folded(pages, CpuState(ROOT), marked=marked)


def stands_alone(text: str) -> ET.Element:
    picture = ET.fromstring(text)
    allowed = {"svg", "title", "rect", "defs", "pattern", "line", "text", "path"}
    assert {one.tag for one in picture.iter()} <= {SVG + name for name in allowed}
    assert not re.search("href|onload|style|@import", text) and text.count("http") == 1
    return picture


@pytest.mark.parametrize("words", [["map", NX_UPPER], ["maps", NX_UPPER, "--tree"], ["maps", NX_UPPER, "--tree", "--dump", "old"]])
def test_a_picture_stands_alone_and_is_of_a_size(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    text = made(capsys, *words, "--format", "svg")
    picture = stands_alone(text)
    assert len(text) < 60_000 and 400 < float(picture.attrib["width"]) < 1400 and float(picture.attrib["height"]) < 1400


def test_the_entry_that_a_rule_blames_is_red_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    picture = stands_alone(made(capsys, "maps", NX_UPPER, "--tree", "--format", "svg"))
    red = [one.text for one in picture.iter(SVG + "text") if one.get("fill") == "#c22f2f"]
    assert "PML4[511]" in red and any(text and text.startswith("nx-upper-level: takes x away") for text in red)
    graph = made(capsys, "maps", NX_UPPER, "--tree", "--format", "dot")
    boxes = [line for line in graph.splitlines() if "nx-upper-level" in line]
    assert len(boxes) == 2 and all('color="#c22f2f"' in line for line in boxes)
    assert re.search(r'n0 -> n\d+ \[color="#c22f2f", label="-x"\];', graph)
    assert re.search(r'n\d+ -> n0 \[style="dashed", constraint="false"\];', graph)  # the self-map


def test_what_a_guest_names_stays_text() -> None:
    pages = Pages({0x13000: [0x5000 | FLAGS] + [0] * 511})
    for table, below in ((ROOT, 0x11000), (0x11000, 0x12000), (0x12000, 0x13000)):
        pages.put(table, 0, below | FLAGS)
    tree = folded(pages, CpuState(ROOT))
    svg = "\n".join(tree_drawn.as_svg(tree, HOSTILE, {(1, 0): HOSTILE}, {}))
    picture = stands_alone(svg)
    shown = [one.text or "" for one in picture.iter(SVG + "text")]
    assert sum("<script>alert(1)</script>" in text for text in shown) == 2 and "\x1b" not in svg and "\u202e" not in svg
    graph = "\n".join(tree_drawn.as_dot(tree, HOSTILE, {(1, 0): HOSTILE}, {}))
    assert "\x1b" not in graph
    strings = re.findall(r'"(?:[^"\\]|\\.)*"', graph)
    assert not re.search("evil|script", re.sub(r'"(?:[^"\\]|\\.)*"', "", graph)) and len(strings) > 5


def test_what_is_blamed_far_down_is_drawn_below_what_leads_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What leads there was drawn again when it stood far above, but not all of it: no picture at all."""
    monkeypatch.setattr(limits, "DRAWN_LINES", 4)
    pages = Pages()
    pages.put(ROOT, 0, 0x11000 | FLAGS)
    pages.put(0x11000, 0, 0x12000 | FLAGS)
    for index in range(12):
        pages.put(0x12000, index, index << 21 | FLAGS | 0x80 | (NX if index % 2 else 0))
    marks = {(2, 0x12000 + 8 * index): "nx-upper-level" for index in range(12)}
    tree = folded(pages, CpuState(ROOT), marked=marks)
    picture = stands_alone("\n".join(tree_drawn.as_svg(tree, "made", {}, marks)))
    words = [one.text for one in picture.iter(SVG + "text")]
    assert [words.count(name) for name in ("PML4[0]", "PDPT[0]", "PD[1]", "PD[5]")] == [1, 1, 1, 1]


def test_more_than_a_picture_holds_is_said_and_the_blamed_are_drawn() -> None:
    marked = {(3, 0x100000 + 59 * 0x10000 + 38 * 8): "some-rule"}
    tree = many(marked)
    svg = "\n".join(tree_drawn.as_svg(tree, "many", {}, marked))
    left = re.search(r"(\d+) more lines are not drawn", svg)
    assert left and int(left[1]) > 100 and "some-rule" in svg and "PML4[118]" in svg
    assert len(re.findall("<text", svg)) < 8 * (limits.DRAWN_LINES + 10)
    graph = "\n".join(tree_drawn.as_dot(tree, "many", {}, marked))
    assert "more lines are not drawn" in graph and "some-rule" in graph


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
@pytest.mark.parametrize("words", [["map", NX_UPPER], ["maps", NX_UPPER, "--tree"]])
def test_graphviz_takes_the_graph(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    graph = made(capsys, *words, "--format", "dot")
    done = subprocess.run(["dot", "-Tsvg"], input=graph, text=True, capture_output=True, timeout=60, check=True)
    assert not done.stderr and "<svg" in done.stdout


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
@pytest.mark.parametrize("name", ["a &lt; b", "&amp;", "&#60;b&#62;", "f<int>(&x)", r"C:\new\tmp\N\G\L", 'say "it"\\', "<b>bold</b>", "<>", "ä →", HOSTILE])
def test_graphviz_shows_a_name_as_it_is(name: str) -> None:
    graph = "\n".join(dot.document(name, [dot.node(0, [name]), dot.node(1, [name, name]), dot.edge(0, 1, label=name)]))
    done = subprocess.run(["dot", "-Tsvg"], input=graph, text=True, capture_output=True, timeout=60, check=True)
    assert not done.stderr
    texts = [each.text for each in ET.fromstring(done.stdout).iter(f"{SVG}text")]
    assert [" ".join((text or "").split()) for text in texts] == [" ".join(printable(name).split())] * 5


def test_a_format_that_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, why in (([], "--format svg draws the tables: it goes with --tree"), (["--tree", "--json", "-"], "--json - and --format svg: both to standard output")):
        assert main(["maps", NX_UPPER, "--format", "svg", *words]) == 2
        assert capsys.readouterr().err.splitlines() == [f"cr3scope: {why}"]
    kept = tmp_path / "tree.json"
    assert "<svg" in made(capsys, "maps", NX_UPPER, "--tree", "--format", "svg", "--json", str(kept)) and kept.stat().st_size
