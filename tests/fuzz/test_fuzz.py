"""A sample of what `make fuzz` runs: fixed seeds of each fuzzer, first inputs of each C target, and what was found before."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from analyze import naive_paging
from fuzz import c_targets, corpus, jobs, roundtrip, wire, worker
from fuzz.jobs import Past
from fuzz.small_boots import small_base
from fuzz.target import Case, Find, Target
from fuzz.targets import TARGETS
from fuzz.worker import Tally, bounded_memory, kind_of, run_seed

BUILD = Path(os.environ.get("BUILD", "build"))
C_TARGETS = c_targets.targets()
SAMPLES = {"capture": 25, "twin": 12, "log": 10, "damaged-log": 30, "core": 25, "stopped": 25, "elf": 25, "examined": 10, "tree": 20}
SAMPLE = 100  # of those that are fast
MANY = 10 if os.environ.get("CR3SCOPE_TEST_ALL") == "1" else 1
INPUTS = 150  # of a C target


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_sample_finds_nothing(target: Target) -> None:
    count = MANY * SAMPLES.get(target.name, SAMPLE)
    with bounded_memory():
        found = {seed: why for seed in range(count) if (why := run_seed(target, seed)) is not None}
    assert not found


@pytest.mark.parametrize("target", C_TARGETS, ids=lambda target: target.name)
def test_a_c_target_survives_its_first_inputs_damaged(target: c_targets.CTarget) -> None:
    """Under gcc's sanitizers, which every machine has that runs the C units."""
    program = roundtrip.Writer(c_targets.build("replay", target.name, BUILD))
    try:
        reading = roundtrip.READINGS.get(target.name)
        for _, data in zip(range(MANY * INPUTS), roundtrip.made_inputs(Random(0), target.seeds), strict=False):
            if reading is not None:
                reading(*program.write(data), data)
            else:
                program.give(data)
    finally:
        assert program.close() == 0


@pytest.mark.parametrize("name", corpus.names())
def test_what_was_found_before_is_answered_rightly(name: str) -> None:
    corpus.check(name)


def test_each_input_that_was_kept_has_its_answer() -> None:
    assert corpus.unanswered() == set()


def test_a_wrong_answer_is_a_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: by another headline, by a word that is missing, by time."""
    monkeypatch.setattr(corpus, "answers", lambda: iter([("log-18410", wrong)]))
    right = corpus.Answer(("triage", "FILE"), "FAULTED", "#PF")
    for wrong in (right._replace(begins="HEALTHY"), right._replace(begins="refused"), right._replace(holds="#BR")):
        with pytest.raises(Find):
            corpus.check("log-18410")
    wrong = right
    corpus.check("log-18410")
    monkeypatch.setattr(corpus, "MOST_SECONDS", 0.0)
    with pytest.raises(Find, match=" s$"):
        corpus.check("log-18410")


def test_a_find_is_noticed_and_kept(tmp_path: Path) -> None:
    """The oracle can fail: by a finding of its own, an internal error, and too much time."""

    def check(case: Case) -> None:
        if case.data == b"find":
            raise Find("HEALTHY, although it died")
        if case.data == b"error":
            raise KeyError("x")

    for data, words in ((b"find", "HEALTHY, although it died"), (b"error", "internal error: KeyError at the fuzzer"), (b"good", None)):
        target = Target("some", lambda rng, data=data: Case(data, ".bin"), check, ())  # type: ignore[misc]
        assert run_seed(target, 7, tmp_path / data.decode()) == words
        kept = tmp_path / data.decode() / "some-7.bin"
        assert kept.exists() == (words is not None) and (words is None or kept.read_bytes() == data)


@pytest.mark.parametrize(("last", "whole", "words"), [(0xFFF, False, "HEALTHY without a word"), (0x1FFF, True, "of a healthy boot")])
def test_a_twin_that_is_whole_is_healthy_and_no_other_is(last: int, whole: bool, words: str) -> None:
    """Of a small boot, whose stack is as long as was asked for, or longer."""
    items = wire.copied(small_base(0))
    stack = next(item for item in items if item.fields.get("role") == "stack")
    stack.fields["last"] = f"{stack.number('last') + last - 0xFFF:x}"
    twin = worker.target_of("twin")
    with pytest.raises(Find, match=words):
        twin.check(Case(wire.written(items), ".trace", {"whole": whole, "what": "nothing"}))
    twin.check(Case(wire.written(items), ".trace", {"whole": not whole, "what": "its stack's end"}))


def test_what_the_model_foresees_of_a_twin_is_what_a_walk_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = worker.target_of("twin")
    flipped = next(case for seed in range(2000) if "bit 0 of" in str((case := twin.make(Random(seed))).meant.get("what")))
    twin.check(flipped)
    monkeypatch.setattr(naive_paging, "access", lambda *_, **__: naive_paging.Outcome(13))
    with pytest.raises(Find, match="is foreseen, and"):
        twin.check(flipped)


def test_finds_of_one_kind_are_counted_together() -> None:
    assert kind_of("HEALTHY, although bit 3 of 0x1000") == kind_of("HEALTHY, although bit 12 of 0xde6a000")
    assert kind_of("internal error: KeyError at a.py:1") != kind_of("internal error: KeyError at a.py:2")


def test_a_run_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    Past(tmp_path).add(Tally("elf", executions=40), first=0)
    past = Past(tmp_path)
    past.add(Tally("elf", executions=2), first=40)
    past.add(Tally("elf", executions=7), first=3)  # a seed that somebody chose: those were had before
    past.add(Tally("pe", executions=1), first=0)
    assert [Past(tmp_path).inputs(name) for name in ("elf", "pe", "core")] == [42, 1, 0]


def test_two_runs_at_once_note_what_both_had(tmp_path: Path) -> None:
    """The one that ended last had wiped out what the other had."""
    one, other = Past(tmp_path), Past(tmp_path)
    one.add(Tally("elf", executions=40), first=0)
    other.add(Tally("pe", executions=2), first=0)
    other.add(Tally("elf", executions=9), first=0)  # seeds that the other run had in the meantime
    assert [one.inputs(name) for name in ("elf", "pe")] == [40, 2]


def test_it_runs_where_python_does_not_fork(tmp_path: Path) -> None:
    """As Python 3.14: no job was found there."""
    script = "import multiprocessing, runpy; multiprocessing.set_start_method('forkserver'); runpy.run_module('fuzz', run_name='__main__', alter_sys=True)"
    words = ["--runs", "3", "--targets", "image-graph", "--build", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", script, *words], env=worker.environment(), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^image-graph +3 .* 0$", done.stdout, re.MULTILINE)


def test_a_run_that_is_ended_has_lost_its_last_part_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hours of one target were not counted before it came to its end."""
    noted: list[tuple[int, int]] = []

    def part(first: int, count: int, seconds: float) -> Tally:
        assert seconds == 2.0
        return Tally("some", min(count, 30), 1.5, {"lies": [first]})

    job = jobs.Job("some", part, lambda first, count: (first, count), False)
    monkeypatch.setattr(jobs, "_PART_SECONDS", 2.0)
    monkeypatch.setattr(Past, "add", lambda self, tally, first: noted.append((first, tally.executions)))
    monkeypatch.setattr(jobs, "ProcessPoolExecutor", lambda count, initializer: ThreadPoolExecutor(count))
    (tally,) = jobs.performed([jobs.Asked(job, 7, 70, 600.0, Tally("some"))], 1, Past(tmp_path))
    assert noted == [(7, 30), (37, 30), (67, 10)]
    assert (tally.executions, tally.seconds, tally.finds, tally.reached, tally.lines) == (70, 4.5, {"lies": [7, 37, 67]}, 7, 70)


@pytest.mark.parametrize("damaged", [b"", b"[1]", b'{"elf": "x"}', b'{"elf": null}', b"\xff"])
def test_a_past_that_cannot_be_read_is_none(tmp_path: Path, damaged: bytes) -> None:
    Past(tmp_path).add(Tally("elf", executions=40), first=0)
    (tmp_path / "fuzz/past.json").write_bytes(damaged)
    assert Past(tmp_path).inputs("elf") == 0


def test_a_worker_that_works_without_a_word_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By what it used of the processors: on a machine that does other things, one that only waited was called a hang."""
    monkeypatch.setattr(worker, "_HANG_SECONDS", 0.05)
    monkeypatch.setattr(worker, "_command", lambda *_: [sys.executable, "-c", "while True: pass"])
    assert list(worker.drive("image-graph", 5, 1, 600.0, tmp_path).finds) == ["hangs"]
    assert (tmp_path / "image-graph-5.bin").exists()


@pytest.mark.parametrize(("script", "is_one"), [("sleep 0", True), ("exit 1", False), ("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done", False)])
def test_an_input_that_was_only_waited_for_is_no_find(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, is_one: bool) -> None:
    """On a machine that did other things, libFuzzer's clock called four targets slow."""
    monkeypatch.setattr(c_targets, "MOST_SECONDS", 0.1)
    program, given = tmp_path / "program", tmp_path / "timeout-1"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    given.write_bytes(b"x")
    assert c_targets.only_waited(program, given) == is_one
    assert given.exists() != is_one


def test_of_each_million_inputs_of_a_c_target_the_first_are_learnt_from() -> None:
    assert [c_targets.stage(number) for number in (0, 49_999, 50_000, 999_999, 1_000_000)] == [
        (True, 50_000), (True, 1), (False, 950_000), (False, 1), (True, 50_000),
    ]  # fmt: skip


def test_a_c_target_goes_on_from_what_was_learnt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both forms run on one folder of inputs, and each input is counted once."""
    monkeypatch.setattr(c_targets, "_LEARNING", 30)
    monkeypatch.setattr(c_targets, "_ROUND", 100)
    for form in ("learning", "counting"):
        program = tmp_path / form
        program.write_text(f"#!/bin/sh\necho $0 $* >> {tmp_path}/ran\nfor word; do case $word in -runs=*) echo stat::number_of_executed_units: ${{word#*=}};; esac; done\n")
        program.chmod(0o755)
    monkeypatch.setattr(c_targets, "build", lambda form, name, folder: tmp_path / form.split("/")[1])
    tally = c_targets.run(C_TARGETS[0], tmp_path, 20, 150, 60.0)
    ran = re.findall(r"/(\w+) -runs=(\d+) .* -use_value_profile=(\d)", (tmp_path / "ran").read_text())
    assert tally.executions == 150 and not tally.finds
    assert ran == [("learning", "10", "1"), ("counting", "70", "0"), ("learning", "30", "1"), ("counting", "40", "0")]
