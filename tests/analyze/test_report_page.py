"""`report.html` in a browser: what a person sees, clicks and types, and what no guest can make it do."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import boot_builder as b
import pytest
import table_damage as damage
from analyze.page_browser import AXE, Browser, lacking, started
from analyze.page_scenes import hostile, of_capture, of_scene
from boot_builder import Scene, healthy
from paging_cases import P, Pages, W
from test_paging_modes import SHORT, short_pages

from cr3scope import limits
from cr3scope.diagnose.facts.attribution import Attribution
from cr3scope.render import html
from cr3scope.verdict.picture import HeldTables, Picture, Space
from cr3scope.verdict.types import Status, Verdict
from cr3scope.x86.cpu_state import CpuState

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser"), pytest.mark.skipif(bool(lacking()), reason=lacking() or "there is a browser")]

NX_UPPER = "nx-upper-level.serial.log"
WITH_PICTURES = bool(os.environ.get("CR3SCOPE_SCREENSHOTS"))
IMAGES = Path(__file__).parents[2] / "docs" / "images"
Break = Callable[[Scene], object]
# One fault of each family that blames an entry.
FAMILIES: dict[str, Break] = {
    "rights-upper": lambda scene: scene.tables.edit(b.HANDOFF, 4, set_bits=b.NX),
    "rights-middle": lambda scene: scene.tables.edit(b.STACK_TOP - 8, 2, clear_bits=b.W),
    "rights-leaf": lambda scene: scene.tables.edit(b.ENTRY, 1, set_bits=b.NX),
    "not-present": lambda scene: scene.tables.edit(b.ENTRY, 3, clear_bits=b.P),
    "reserved": lambda scene: scene.tables.edit(b.ENTRY, 2, set_bits=1 << 51),
    "smep": lambda scene: (damage.cr4(scene, damage.SMEP), damage.user(scene, b.ENTRY)),
    "large-page": lambda scene: scene.tables.edit(b.FRAMEBUFFER, 2, clear_bits=b.W),
}


@cache
def nx_upper() -> Verdict:
    return of_capture(NX_UPPER)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started(is_seen=WITH_PICTURES) as one:
        yield one


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    """Open the page of a verdict; at the end nothing may have been refused or have failed in it."""

    def show(verdict: Verdict, drawn: bool = True) -> Browser:
        path = tmp_path / "report.html"
        path.write_text(html.render(verdict), encoding="utf-8", errors="backslashreplace")
        return browser.open(path, drawn)

    yield show
    assert browser.complaints() == []


def red(browser: Browser) -> list[tuple[int, int, int, str]]:
    """The cells of the strips that are to blame."""
    cells = browser.data("#strips .cell.guilty")
    return [(int(one["level"]), int(one["index"]), int(one["phys"], 16), one["guilty"]) for one in cells]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_guilty_cell_is_on_the_screen_and_is_that_of_the_verdict(family: str, shown: Callable[..., Browser]) -> None:
    scene = healthy()
    FAMILIES[family](scene)
    verdict = of_scene(scene)
    finding = next(one for one in verdict.findings if one.entry is not None)
    assert finding.entry is not None
    page = shown(verdict)
    entry = finding.entry
    assert (entry.level, entry.index, entry.phys, finding.rule) in red(page)
    cell = f'#strips .cell[data-level="{entry.level}"][data-index="{entry.index}"]'
    colour = page.js("return getComputedStyle(document.querySelector(arguments[0])).backgroundColor", cell)
    assert colour == "rgb(197, 19, 11)"
    assert page.js("return document.querySelector(arguments[0]).getAttribute('aria-selected')", cell) == "true"


def test_a_healthy_boot_has_no_red_cell(shown: Callable[..., Browser]) -> None:
    page = shown(of_scene(healthy()))
    assert red(page) == []
    assert page.data("[data-guilty]") == []
    assert page.texts("#mended") == ["None of the 5 accesses that were judged is refused by the tables."]


def test_a_click_leads_down_and_another_cell_changes_the_way(shown: Callable[..., Browser]) -> None:
    page = shown(of_scene(healthy()))
    page.click('#strips .cell[data-level="4"][data-index="511"]')
    assert page.js("return document.querySelector('#address').value") == hex(b.KERNEL & -(1 << 39))
    page.click('#strips .cell[data-level="3"][data-index="510"]')
    page.click('#strips .cell[data-level="2"][data-index="0"]')
    page.click('#strips .cell[data-level="1"][data-index="16"]')
    assert page.data("#walk")[0] == {"outcome": "translated", "phys": hex(b.KERNEL_PHYS + 0x10000), "rights": "r---"}
    assert page.texts("#crumbs button") == ["PML4[511]", "PDPT[510]", "PD[0]", "PT[16]"]
    page.click('#strips .cell[data-level="4"][data-index="3"]')
    assert page.texts("#crumbs button") == ["PML4[3]"]
    assert page.data("#walk")[0]["outcome"] == "fault"


def test_a_typed_address_is_walked(shown: Callable[..., Browser]) -> None:
    page = shown(nx_upper())
    page.type("#address", "0xffffffff80000010")
    assert page.data("#walk")[0]["rights"] == "r---"
    said = page.texts("#walk")[0]
    assert "PML4[511]  0xde6aff8 = 0x800000000de6b003" in said and "#PF(0x11) no-execute, by PML4[511]" in said
    page.type("#address", "800000000000")
    assert page.data("#walk")[0]["outcome"] == "fault"
    assert "#GP(0x0) address is not canonical" in page.texts("#walk")[0]
    page.type("#address", "kernel")
    assert page.texts("#walk") == ["no address: hexadecimal digits, sixteen at most"]
    assert page.data("#walk")[0]["outcome"] == ""


def test_an_address_that_the_mode_does_not_have_is_refused_as_in_the_terminal(shown: Callable[..., Browser]) -> None:
    short = Space("as it was judged", replace(SHORT, cr0=0x8000_0033), short_pages(0x20_0000 | W | P))
    long = Space("before the switch", CpuState(0x1000), HeldTables({0x1000: bytes(4096)}))
    page = shown(Verdict(Status.HEALTHY, picture=Picture(short, before=long)))
    page.type("#address", "100402234")
    assert page.texts("#walk") == ["no address as it was judged: there it has 32 bits"]
    assert page.data("#walk")[0]["outcome"] == ""
    page.js("const one = document.querySelector('#space'); one.value = '0'; one.dispatchEvent(new Event('change'))")
    page.type("#address", "ffff800000000000")
    assert page.data("#walk")[0]["outcome"] == "fault"
    page.js("const one = document.querySelector('#space'); one.value = '1'; one.dispatchEvent(new Event('change'))")
    assert page.js("return document.querySelector('#address').value") == "0x0"


def test_frames_between_those_of_ranges_that_are_drawn_as_one_are_not_called_shared(shown: Callable[..., Browser]) -> None:
    scattered = {number: 0x10_0000 + (number * 37 % 100) * 0x1000 for number in range(100)}
    table = [scattered.get(index // 2, 0) | P | W if index % 2 == 0 and index < 200 else 0 for index in range(512)]
    pages = Pages({0x1000: [0x2003] + [0] * 511, 0x2000: [0x3003] + [0] * 511, 0x3000: [0x4003] + [0] * 511, 0x4000: table})
    page = shown(Verdict(Status.HEALTHY, picture=Picture(Space("now", CpuState(0x1000), pages))))
    assert page.js("return document.querySelectorAll('#columns .part').length") > 10
    assert page.js("return document.querySelectorAll('#columns .part.shared').length") == 0


class _Lines:
    def line_of_call(self, return_address: int) -> str | None:
        return f"paging.c:{return_address}"


@pytest.mark.parametrize(("lost", "words"), [(0, "written by paging.c:77"), (b.P, "asked for by paging.c:77")])
def test_who_asked_for_what_is_not_there_did_not_write_the_entry(lost: int, words: str, shown: Callable[..., Browser]) -> None:
    scene = healthy()
    scene.boot.maps = [replace(one, caller=77) for one in scene.boot.maps]
    scene.tables.edit(b.ENTRY, 3, clear_bits=lost)
    whole = of_scene(scene).picture
    assert whole is not None and whole.boot is not None and whole.intent is not None
    known = Attribution(whole.boot, whole.intent, _Lines())
    page = shown(Verdict(Status.HEALTHY, picture=replace(whole, attribution=known)))
    page.type("#address", f"{b.ENTRY:x}")
    assert page.texts("#strips section:not([hidden]) .writer")[-1:] == [words]


def test_all_of_it_can_be_done_by_keyboard(shown: Callable[..., Browser]) -> None:
    page = shown(of_scene(healthy()))
    page.js("document.querySelector('#address').focus()")
    tab, enter, right, left, end, escape = "\ue004", "\ue007", "\ue014", "\ue012", "\ue010", "\ue00c"
    stops = []
    for _ in range(12):  # the choice of a space, the levels, then the first strip
        page.press(tab)
        stops.append(page.focused())
        if "level" in stops[-1]:
            break
    assert stops[-1]["level"] == "4", stops
    page.press(end, enter)
    assert page.focused()["level"] == "3"
    page.press(end, left, enter)
    assert page.texts("#crumbs button")[:2] == ["PML4[511]", "PDPT[510]"]
    page.press(right, left, escape)
    assert page.focused()["level"] == "3"


def test_the_mended_view_has_no_red_cell_and_tells_what_strikes_next(shown: Callable[..., Browser]) -> None:
    scene = healthy()
    scene.tables.edit(b.HANDOFF, 4, set_bits=b.NX)
    scene.tables.edit(b.STACK_TOP - 8, 1, clear_bits=b.W)
    page = shown(of_scene(scene))
    assert "refuse 2; first step 0" in page.texts("#mended")[0]
    page.click('button.apply[data-finding="0"]')
    assert red(page) == []
    assert page.js("return document.querySelectorAll('#strips .cell.mended').length") == 1
    said = page.texts("#mended")[0]
    assert "refuse 1; first step 1, push of the return address: #PF(0x3), read-only, by PT[" in said
    assert "The next to strike: " in said
    page.click('button.apply[data-finding="1"]')
    assert "None of the 5 accesses" in page.texts("#mended")[0]
    page.click('button.apply[data-finding="0"]')  # takes both back
    assert len(red(page)) == 1
    assert "refuse 2; first step 0" in page.texts("#mended")[0]


def columns(browser: Browser) -> list[tuple[int, int, str, bool]]:
    """The ranges behind the switch as they are drawn: first and last address, rights, and whether a mend changed them."""
    script = """return [...document.querySelectorAll('#columns .range')].filter((one) => Number(one.querySelector('rect').getAttribute('x')))
        .map((one) => [one.querySelector('title').textContent, one.classList.contains('mended')])"""
    found = []
    for words, is_mended in browser.js(script):
        first, size, unit, rights = words.split()[:4]
        length = float(size) * 1024 ** ("B", "KiB", "MiB", "GiB").index(unit)
        found.append((int(first, 16), int(first, 16) + int(length) - 1, rights, is_mended))
    return found


def granted(browser: Browser, virt: int) -> str:
    """The rights of an address by the columns; "" where they have nothing there."""
    return next((rights for first, last, rights, _ in columns(browser) if first <= virt <= last), "")


def test_the_columns_show_the_space_mended_and_agree_with_what_strikes_next(shown: Callable[..., Browser]) -> None:
    scene = healthy()
    scene.tables.edit(b.HANDOFF, 4, set_bits=b.NX)
    scene.tables.edit(b.STACK_TOP - 8, 1, clear_bits=b.W)
    page = shown(of_scene(scene))
    assert page.texts("#columns-of") == ["As they were judged, without any mend."]
    assert (granted(page, b.HANDOFF), granted(page, b.STACK_TOP - 8)) == ("r---", "r---")
    assert not any(is_mended for *_, is_mended in columns(page))
    page.click('button.apply[data-finding="0"]')
    assert "first step 1" in page.texts("#mended")[0]
    assert (granted(page, b.HANDOFF), granted(page, b.STACK_TOP - 8)) == ("r-x-", "r---")
    marked = [(first, last) for first, last, _, is_mended in columns(page) if is_mended]
    assert marked and all(last < 1 << 39 for _, last in marked)  # what PML4[0] maps, and nothing else
    assert page.texts("#columns-of") == ["With the mends that are applied in the picture; what they change has a green border."]
    page.click('button.apply[data-finding="1"]')
    assert "None of the 5 accesses" in page.texts("#mended")[0]
    assert (granted(page, b.HANDOFF), granted(page, b.STACK_TOP - 8)) == ("r-x-", "rw--")
    page.click('button.apply[data-finding="0"]')  # takes both back
    assert (granted(page, b.HANDOFF), granted(page, b.STACK_TOP - 8)) == ("r---", "r---")


def test_a_healthy_boot_says_nothing_of_mends(shown: Callable[..., Browser]) -> None:
    page = shown(of_capture("healthy.serial.log"))
    assert page.texts("#columns-of") == [""] and "mend" not in page.js("return document.querySelector('main').innerText").lower().replace("mended in the picture", "")


def test_words_of_the_course_are_not_broken(shown: Callable[..., Browser]) -> None:
    page = shown(nx_upper())
    heights = page.js("""return [...document.querySelectorAll('#course td:first-child')].map((one) => {
        const words = document.createRange(); words.selectNodeContents(one); return words.getClientRects().length; })""")
    assert set(heights) == {1}


def test_a_range_that_a_mend_maps_appears_in_the_columns_and_can_be_asked_for(shown: Callable[..., Browser]) -> None:
    scene = healthy()
    scene.tables.put(scene.tables.slot(b.STACK_TOP - 8, 3), 0)
    page = shown(of_scene(scene))
    assert granted(page, b.STACK_TOP - 8) == ""
    page.click('button.apply[data-finding="0"]')
    assert granted(page, b.STACK_TOP - 8) == "rw--"
    assert page.js("return document.querySelectorAll('#columns .range.mended.here').length") == 1


def test_a_space_that_is_too_large_to_be_held_once_more_says_which_mend_the_columns_lack(
    shown: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = healthy()
    scene.tables.edit(b.HANDOFF, 4, set_bits=b.NX)
    monkeypatch.setattr(limits, "REPORT_MENDED", 0)
    page = shown(of_scene(scene))
    page.click('button.apply[data-finding="0"]')
    assert granted(page, b.HANDOFF) == "r---"
    said = "Here that of finding 1 could not be shown: the page has no room for so many ranges once more."
    assert page.texts("#columns-of") == [f"As they were judged, without any mend. {said}"]


def test_a_mend_that_changes_no_entry_is_not_said_to_be_applied(shown: Callable[..., Browser]) -> None:
    scene = healthy()
    damage.without_nxe(scene)
    scene.tables.edit(b.ENTRY, 1, clear_bits=b.P)
    page = shown(of_scene(scene))
    page.click('button.apply[data-finding="1"]')
    said = page.texts("#mended")[0]
    assert "the mend of finding 2 is applied. That of finding 1 changes no entry here." in said
    assert "first step 1" in said and "The next to strike" not in said


def test_a_page_that_is_missing_is_mapped_by_its_mend_through_new_tables(shown: Callable[..., Browser]) -> None:
    scene = healthy()
    scene.tables.put(scene.tables.slot(b.STACK_TOP - 8, 3), 0)
    page = shown(of_scene(scene))
    assert page.data("#walk")[0]["outcome"] == "fault"
    page.click('button.apply[data-finding="0"]')
    assert page.data("#walk")[0] == {"outcome": "translated", "phys": hex(b.STACK_PHYS + 4 * b.PAGE - 8), "rights": "rw--"}
    assert page.texts("#crumbs button")[-1].startswith("PT[")


def test_the_space_before_the_switch_can_be_looked_at(shown: Callable[..., Browser]) -> None:
    page = shown(nx_upper())
    page.js("const one = document.querySelector('#space'); one.value = '0'; one.dispatchEvent(new Event('change'))")
    assert red(page) == []
    assert page.data("#walk")[0]["outcome"] == "translated"
    assert "before the switch" in page.texts("#walk")[0]


def test_the_columns_show_both_spaces_and_where_each_range_goes(shown: Callable[..., Browser]) -> None:
    page = shown(nx_upper())
    assert page.texts("#columns .head") or page.js("return [...document.querySelectorAll('#columns .head')].map((one) => one.textContent)") \
        == ["before the switch", "physical", "behind the switch"]
    assert page.js("return document.querySelectorAll('#columns .ribbon').length") > 20
    assert page.js("return document.querySelectorAll('#columns .range.here').length") == 1


def test_the_course_of_events_is_filtered_by_what_is_typed(shown: Callable[..., Browser]) -> None:
    page = shown(nx_upper())
    page.type("#filter", "write pml4[0]")
    rows = page.js("return [...document.querySelectorAll('#course tbody tr')].filter((one) => !one.hidden).map((one) => one.innerText)")
    assert len(rows) == 1 and "becomes 0x800000000de77003 (P W NX)" in rows[0]
    assert re.fullmatch(r"1 of \d+ events", page.texts("#filtered")[0])


def test_hostile_names_stay_text_and_nothing_leaves_the_page(shown: Callable[..., Browser]) -> None:
    page = shown(hostile())
    assert page.js("return window.evil") is None
    assert page.js("return document.querySelectorAll('script').length") == 2
    assert page.js("return document.querySelectorAll('img, iframe, link, object, embed, svg image, svg use').length") == 0
    assert page.js("return performance.getEntriesByType('resource').length") == 0
    text = page.js("return document.body.textContent")
    assert "<img src=x onerror=window.evil=1>" in text
    assert not re.search(r"[\x00-\x08\x1b\u202e]", text)


def test_without_scripts_the_text_says_all_that_the_verdict_does(browser: Browser, shown: Callable[..., Browser]) -> None:
    verdict = nx_upper()
    with browser.emulated(scripts=False):
        page = shown(verdict, drawn=False)
        said = page.driver.find_element("css selector", "body").text
    for words in ("WILL FAULT", "NX in PML4[0] forbids", "clear NX (bit 63) of PML4[0]", "0xde79cf0 = 0x000000000df9e001", "storm"):
        assert words in said, words
    assert "Show only" not in said and "in the space" not in said


def test_on_a_narrow_screen_nothing_is_wider_than_it(browser: Browser, shown: Callable[..., Browser]) -> None:
    with browser.emulated(width=360):
        page = shown(nx_upper())
        assert page.js("return document.documentElement.scrollWidth") <= 360
        assert page.js("return document.querySelector('#strips .cell.guilty').getBoundingClientRect().width") >= 8
        _keep(page, "report-narrow.png")


def test_in_the_dark_and_on_paper_the_red_cell_stays_red(browser: Browser, shown: Callable[..., Browser]) -> None:
    colour = "return getComputedStyle(document.querySelector(arguments[0])).backgroundColor"
    verdict = nx_upper()
    with browser.emulated(scheme="dark"):
        page = shown(verdict)
        assert page.js(colour, "body") == "rgb(20, 23, 28)"
        assert page.js(colour, "#strips .cell.guilty") == "rgb(255, 106, 94)"
        _keep(page, "report-dark.png")
    with browser.emulated(medium="print"):
        page = shown(verdict)
        assert page.js(colour, "#strips .cell.guilty") == "rgb(197, 19, 11)"
        assert page.js("return getComputedStyle(document.querySelector('#strips .cell.guilty')).printColorAdjust") == "exact"
        assert page.js("return getComputedStyle(document.querySelector('#ask')).display") == "none"
    assert browser.printed().startswith(b"%PDF")


@pytest.mark.skipif(not AXE.is_file(), reason=f"axe-core is not there: npm install --prefix {AXE.parents[2]} axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(scheme: str, browser: Browser, shown: Callable[..., Browser]) -> None:
    with browser.emulated(scheme=scheme):
        page = shown(nx_upper())
        assert page.faults() == []


def test_the_first_screen_has_headline_cause_and_red_cell(browser: Browser, shown: Callable[..., Browser]) -> None:
    page = shown(nx_upper())
    below = page.js("return document.querySelector('#strips .cell.guilty').getBoundingClientRect().bottom")
    assert below < 700
    _keep(page, "report.png")


def _keep(page: Browser, name: str) -> None:
    """The pictures of the docs, made where they are asked for."""
    if WITH_PICTURES:
        IMAGES.mkdir(exist_ok=True)
        page.picture(IMAGES / name)
