"""What was asked for, held against the tables in time linear in the records, and within a budget that is told."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import boot_builder as b
import pytest
from boot_builder import Scene, healthy
from intent_scenes import of_rule
from trace_writer import Writer

from cr3scope import limits
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.records import MapRecord, RegionRecord
from cr3scope.model.intent import Intent, Named
from cr3scope.model.painted import Painted
from cr3scope.render.message import plain
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status, Verdict

FAR = 0xFFFF_9000_0000_0000
SECONDS = 10  # of a processor: quadratic, each of these takes minutes


def asked(scene: Scene, ranges: list[tuple[int, int]], rights: str = "rw-", role: str = "data") -> Verdict:
    """The verdict on a boot whose loader also asked for ``ranges``."""
    for number, (first, last) in enumerate(ranges):
        phys = 0x1000_0000 + number * b.PAGE
        scene.boot.maps.append(MapRecord(0, f"m{number}", role, first, last, phys, rights, b.PAGE, "wb", number))
    before = time.process_time()
    verdict = analyze(scene.capture())
    assert time.process_time() - before < SECONDS
    return verdict


WIDE = 1 << 27  # bytes: by pages, fifty walks of it are 1.6 million
MANY = 20_000
SHAPES = {
    "apart": [(FAR + 2 * n * b.PAGE, FAR + 2 * n * b.PAGE + 0xFFF) for n in range(MANY)],
    "nested": [(FAR + n * b.PAGE, FAR + (2 * MANY - n) * b.PAGE + 0xFFF) for n in range(MANY)],
    "the same": [(FAR, FAR + (1 << 40) - 1)] * MANY,
    "huge": [(n * b.PAGE, (1 << 47) - 1 - n * b.PAGE) for n in range(MANY)],
    "not canonical": [((1 << 47) + n * (1 << 22), (1 << 47) + n * (1 << 22) + (1 << 30)) for n in range(MANY)],
    "mapped": [(b.INFO, b.INFO + 0xFFF)] * MANY,
}


@pytest.mark.slow
@pytest.mark.parametrize("rights", ["rw-", "rwxu"])
@pytest.mark.parametrize("shape", SHAPES)
def test_many_calls_are_judged_in_linear_time(shape: str, rights: str) -> None:
    verdict = asked(healthy(), SHAPES[shape], rights)
    assert verdict.status is not Status.HEALTHY
    assert len(verdict.findings) < 500


def test_what_a_budget_leaves_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REFUSED_PARTS", 4)
    said = [plain(each.message) for each in asked(healthy(), SHAPES["apart"][:10]).diagnostics]
    assert "past the budget of this judgement, and not told: what the tables refuse of all that was asked for" in said


def test_a_healthy_boot_past_a_budget_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    assert analyze(healthy().capture()).status is Status.HEALTHY
    monkeypatch.setattr(limits, "PROBE_STEPS", 2)
    verdict = analyze(healthy().capture())
    assert (verdict.status, verdict.exit_status) == (Status.INCOMPLETE, 2)
    assert any("other CPUs" in plain(each.message) for each in verdict.diagnostics)


def test_what_this_cpu_refuses_costs_a_step_a_run_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROBE_STEPS", 64)  # a step for each absent entry of one table is 500
    verdict = asked(healthy(), [(0, (1 << 47) - 1)])
    assert verdict.status is not Status.HEALTHY
    assert not any("other CPUs" in plain(each.message) for each in verdict.diagnostics)


def test_a_range_that_is_not_canonical_is_one_refusal() -> None:
    scene = healthy()
    found = asked(scene, [(1 << 47, (1 << 47) + (1 << 34))]).findings
    assert [finding.rule for finding in found].count("non-canonical") == 1


def test_a_range_whose_frames_wrap_is_a_finding() -> None:
    scene = healthy()
    name = "framebuffer"
    number = next(n for n, record in enumerate(scene.boot.maps) if record.name == name)
    scene.boot.maps[number] = replace(scene.boot.maps[number], phys=(1 << 64) - b.PAGE)
    found = of_rule(scene, "wrong-frame")
    assert found and found[0].range is not None and found[0].range[0] == b.FRAMEBUFFER


@pytest.mark.slow
@pytest.mark.parametrize("width", [WIDE, WIDE - 5])
def test_a_plan_of_wide_accesses_is_walked_by_tables(width: int) -> None:
    scene = healthy()
    first, pages = FAR, WIDE // b.PAGE
    scene.map("wide", "data", first, 0x1_0000_0000, WIDE, "rw-")
    step = scene.boot.plan[-1]
    wide = (replace(step, step=len(scene.boot.plan) + n, virt=first + n % 2, width=width - 8, rip=b.ENTRY + 8) for n in range(50))
    scene.boot.plan.extend(wide)
    before = time.process_time()
    verdict = analyze(scene.capture())
    assert time.process_time() - before < SECONDS
    assert verdict.prediction is not None and verdict.prediction.survives and verdict.prediction.diverges is None
    for page, what in ((pages - 700, 0), (pages // 2, 0x7000_0000 | b.P | b.W | b.NX)):
        broken = scene.tables.slot(first + page * b.PAGE, 1)
        kept = scene.tables.get(broken)
        scene.tables.put(broken, what)
        prediction = analyze(scene.capture()).prediction
        scene.tables.put(broken, kept)
        assert prediction is not None
        if what:
            assert prediction.survives and prediction.diverges == len(scene.boot.plan) - 50
        else:
            assert prediction.first is not None and prediction.first.cr2 == first + page * b.PAGE


def test_tables_that_lead_to_themselves_in_every_entry_end_and_are_not_healthy() -> None:
    scene = healthy()
    scene.tables.records.clear()
    page = scene.tables.pages[b.ROOT]
    page[page & 1 == 0] = b.ROOT | b.P | b.W
    before = time.process_time()
    verdict = analyze(scene.capture())
    assert time.process_time() - before < SECONDS
    assert verdict.status is not Status.HEALTHY
    assert any("the tables map beside what was asked for" in plain(each.message) for each in verdict.diagnostics)


def test_guards_are_looked_at_by_ranges() -> None:
    scene = healthy()
    scene.boot.regions.append(RegionRecord(0, "huge", "guard", 1 << 32, (1 << 47) - 1, None))
    scene.boot.regions += [RegionRecord(0, f"g{n}", "guard", *SHAPES["apart"][n], None) for n in range(MANY)]
    before = time.process_time()
    assert analyze(scene.capture()).status is Status.HEALTHY
    assert time.process_time() - before < SECONDS


def test_painted_ranges_are_those_of_a_search() -> None:
    chance = random.Random(17)
    for _ in range(200):
        named = []
        for number in range(chance.randrange(12)):
            first = chance.choice([chance.randrange(40), (1 << 64) - 1 - chance.randrange(40)])
            named.append(Named(f"n{number}", "", first, first + chance.randrange(-2, 30)))
        painted = Painted(named)
        places = [*range(-1, 75), *range((1 << 64) - 45, 1 << 64)]
        for virt in places:
            assert painted.at(virt) is next((one for one in named if virt in one), None)
        told = {virt: one for first, last, one in painted.parts() for virt in places if first <= virt <= last}
        assert told == {virt: one for virt in places if (one := painted.at(virt)) is not None}


def test_an_intent_is_looked_up_as_if_it_were_searched() -> None:
    boot = healthy().capture().boots[0]
    intent = Intent(boot)
    for named in [*intent.maps, *intent.segments, *intent.regions]:
        for virt in (named.virt - 1, named.virt, named.last, named.last + 1):
            last = next((one for one in reversed(intent.maps) if virt in one), None)
            assert intent.mapping_of(virt) is last
            everything = [*intent.images, *intent.segments, *intent.maps, *intent.tables, *intent.regions]
            covering = sorted((one for one in reversed(everything) if virt in one), key=lambda one: one.size)
            assert intent.at(virt) is (covering[0] if covering else None)


@pytest.mark.parametrize("kind", ["segment", "image"])
def test_more_records_of_a_kind_than_any_writer_has_are_damage_and_not_read(kind: str) -> None:
    writer = Writer()
    most = limits.CAPTURE_KINDS[kind]
    for number in range(most + 3):
        if kind == "image":
            writer.put("image", name="x", base=number << 20, size=1, text=0, text_size=1)
        else:
            place = {"virt": number << 12, "last": number << 12 | 1, "phys": 0, "filesz": 0, "memsz": 2, "offset": 0}
            writer.put("segment", {"of": "x", "index": number, **place}, flags="r--")
    writer.end()
    capture = read_capture(writer.data)
    assert [found.message for found in capture.damage] == [
        f"{kind} record: more than {most} of this kind in one boot: the others are not read"
    ]
    assert len(getattr(capture.boots[0], f"{kind}s")) == most
