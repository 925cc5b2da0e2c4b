"""`report.html` of a boot of each family of faults, in a browser: what is to blame is found by who knows nothing but the verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from analyze.page_browser import Browser, lacking, started
from boot.fault_rows import Row, of_row, rows
from boot.reference import Run, sample
from boot.shared_run import shared_run

from cr3scope.cli.main import main

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.skipif(bool(lacking()), reason=lacking() or "there is a browser")]

WIDE, NARROW = 1200, 360
EVERY = 6  # family, one of so many
_REACHES = "return document.documentElement.scrollWidth"
_RED = ("rgb(197, 19, 11)", "rgb(138, 82, 0)")  # of an error, of a warning


def first_of_each_family() -> list[Row]:
    """A family is what stands before the colon of a fault's name."""
    firsts: dict[str, Row] = {}
    for row in rows():
        firsts.setdefault(row.inject.split(":")[0], row)
    return list(firsts.values())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as one:
        yield one


def judged(folder: Path, run: Run) -> tuple[dict[str, Any], Path]:
    """The verdict of `analyze` on what a boot left, and its page."""
    said, page = folder / "verdict.json", folder / "report.html"
    main(["analyze", f"{run.folder}/serial.log", "--log", f"{run.folder}/interrupts.log", "--json", str(said), "--html", str(page)])
    loaded: dict[str, Any] = json.loads(said.read_text())
    return loaded, page


def blamed(verdict: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The findings that name an entry and blame it, with their number on the page."""
    return [(number, one) for number, one in enumerate(verdict["findings"]) if one["entry"] and one["severity"] != "note"]


def cell_of(entry: dict[str, Any]) -> str:
    return f'#strips .cell[data-level="{entry["level"]}"][data-index="{entry["index"]}"]'


@pytest.mark.parametrize("row", sample(first_of_each_family(), EVERY), ids=lambda row: row.inject)
def test_the_report_of_a_fault_leads_to_what_its_verdict_blames(
    row: Row, browser: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict, written = judged(tmp_path, shared_run(**of_row(row, "safe")))
    page = browser.open(written, drawn=bool(verdict["prediction"]))
    assert page.texts("h1") == capsys.readouterr().out.splitlines()[:1]
    assert page.js(_REACHES) <= WIDE
    with browser.emulated(width=NARROW):  # a telephone's
        assert page.js(_REACHES) <= NARROW
    rules = [one["rule"] for one in verdict["findings"]]
    assert page.texts(".finding h2 code") == rules
    for number, finding in blamed(verdict):
        entry, button = finding["entry"], f'button.goto[data-finding="{number}"]'
        if page.js("return document.querySelector(arguments[0]).hidden", button):  # no address leads there by the tables that are judged
            continue
        page.click(button)
        told = page.data(cell_of(entry))
        assert told and (told[0]["phys"], told[0]["guilty"]) == (entry["phys"], told[0]["guilty"]) and told[0]["guilty"] in rules, (finding, told)
        assert page.js("return getComputedStyle(document.querySelector(arguments[0])).backgroundColor", cell_of(entry)) in _RED
        assert entry["phys"] in page.texts("#walk")[0]
    if not blamed(verdict):
        assert page.data("#strips .cell.guilty") == []
    while unapplied := page.data('button.apply:not([hidden])[aria-pressed="false"]'):
        page.click(f'button.apply[data-finding="{unapplied[0]["finding"]}"]')
    assert page.data("#strips .cell.guilty") == [] or any(not one["mends"] for _, one in blamed(verdict))
    assert page.complaints() == []
