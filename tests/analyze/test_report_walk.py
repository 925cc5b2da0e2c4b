"""The page's own walk says what the package's does, and its tables are those that were packed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from analyze.page_browser import Browser, lacking, started
from boot.reference import takes_all
from hypothesis import Phase, given, settings
from paging_cases import Case, cases, cpu_of, platform_of

from cr3scope.paging.walk import PageFault, Reason, access, walk
from cr3scope.render.report import blob, bundle, embed, spaces
from cr3scope.verdict.picture import Space
from cr3scope.x86.access import AccessKind

pytestmark = [
    pytest.mark.slow, pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(bool(lacking()), reason=lacking() or "there is a browser"),
]  # fmt: skip

# What the page embeds, with a memory whose pages are lists of [index, value].
ASK = bundle.modules(("words", "tables", "walk")) + """
const [data, all] = arguments;
const told = (found) => found && [found.vector, found.error, found.reason, found.guilty.map((one) => [one.level.level, one.index])];
return JSON.stringify(all.map((one) => {
  const pages = new Map(one.pages.map(([phys, entries]) => [phys, new Map(entries.map(([index, value]) => [index, BigInt(value)]))]));
  const memory = {entry: (phys, bytes) => {
    const page = pages.get(phys - phys % PAGE);
    return page && (page.get(phys % PAGE / bytes) ?? 0n);
  }};
  const space = new Space(one.space, memory, data), path = walk(space, BigInt(one.virt));
  return {
    stop: path.stop, phys: path.phys === null ? null : hex(path.phys), rights: path.stop ? "----" : rightsText(rights(space, path)),
    path: path.entries.map((entry) => [entry.level.level, entry.index, hex(entry.phys), hex(entry.value)]),
    accesses: ["read", "write", "fetch"].flatMap((kind) => [false, true].map((isUser) => told(refusal(space, path, kind, isUser)))),
    step: told(struck(space, one.step)),
  };
}));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as one:
        yield one


def made(count: int) -> list[Case]:
    """Random tables, machines and accesses: others at each run."""
    found: list[Case] = []

    @settings(max_examples=count, phases=[Phase.generate], database=None)
    @given(cases())
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


def told(fault: PageFault | None) -> list[Any] | None:
    if fault is None:
        return None
    return [fault.vector, fault.error_code, fault.reason.name, [[entry.level, entry.index] for entry in fault.guilty]]


def asked(case: Case) -> dict[str, Any]:
    """One case as the page has it."""
    space = Space("", cpu_of(case.machine), case.pages)
    pages = [[phys, [[index, hex(value)] for index, value in enumerate(page) if value]] for phys, page in case.pages.memory.items()]
    step = {"virt": hex(case.virt), "kind": case.kind, "width": case.width, "align": 1,
            "user": case.user and not case.implicit, "implicit": case.implicit}
    return {"space": spaces.as_dict(space, platform_of(case.machine), 0, False), "virt": hex(case.virt), "pages": pages, "step": step}


def expected(case: Case) -> dict[str, Any]:
    """The same, by the package."""
    cpu, platform = cpu_of(case.machine), platform_of(case.machine)
    path = walk(case.pages, cpu, case.virt, platform)
    found = [
        access(case.pages, cpu, case.virt, kind, user=user, platform=platform)
        for kind in (AccessKind.READ, AccessKind.WRITE, AccessKind.FETCH) for user in (False, True)
    ]  # fmt: skip
    step = access(case.pages, cpu, case.virt, AccessKind(case.kind), case.user, case.width, case.implicit, platform=platform)
    return {
        "stop": path.stop and path.stop.name,
        "phys": None if path.phys is None else hex(path.phys),
        "rights": "----" if path.stop else path.rights,
        "path": [[entry.level, entry.index, hex(entry.phys), hex(entry.value)] for entry in path.entries],
        "accesses": [told(one if isinstance(one, PageFault) else None) for one in found],
        "step": told(step if isinstance(step, PageFault) else None),
    }


def test_the_pages_walk_says_what_the_packages_does(browser: Browser) -> None:
    browser.driver.get("about:blank")
    all_cases = made(1000 if takes_all() else 300)
    answers = json.loads(browser.js(ASK, embed.RULES, [asked(case) for case in all_cases]))
    for case, answer in zip(all_cases, answers, strict=True):
        assert answer == expected(case), case
    met = {one[2] for answer in answers for one in answer["accesses"] if one}
    assert met >= {reason.name for reason in (Reason.NOT_PRESENT, Reason.READ_ONLY, Reason.SUPERVISOR, Reason.NO_EXECUTE)}


def test_tables_are_unpacked_as_they_were_packed(browser: Browser) -> None:
    random = np.random.default_rng(1)
    tables = {phys: random.integers(0, 1 << 64, 512, dtype=np.uint64) for phys in (0x1000, 0x7000, (1 << 52) - 0x1000)}
    tables[0x9000] = np.arange(512, dtype=np.uint64) * np.uint64(0x1000) | np.uint64(1 << 63)
    script = bundle.modules(("words", "tables")) + """
        const [packed, places, done] = arguments;
        unpack(packed).then((memory) => done(places.map((phys) => memory.entry(phys, 8) === undefined ? null : hex(memory.entry(phys, 8)))));
    """
    places = [phys + 8 * index for phys in tables for index in range(512)]
    browser.driver.get("about:blank")
    values = browser.later(script, blob.packed(tables), [*places, 0x2000])
    assert values == [hex(int(value)) for entries in tables.values() for value in entries] + [None]
