"""Boots with steps that are more than an access, and what is said of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import boot_builder as b
from boot_builder import Scene, healthy

from cr3scope.input.capture.planned_switch import planned_switch
from cr3scope.input.capture.records import MemoryContents, PlanStep
from cr3scope.input.logs.log_report import LogReport
from cr3scope.model.plan_prediction import PlanPrediction, predict_plan
from cr3scope.model.intent import Intent
from cr3scope.model.prediction import Prediction
from cr3scope.render.message import text
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Verdict
from cr3scope.x86.access import AccessKind, Fault

INT3 = b.HANDOFF + 3
INT3_RAISED = Fault(3, None, None, INT3, b.ROOT)
PUSH, MOVAPS = b.HANDOFF + 8, b.ENTRY + 2


def with_step(scene: Scene, number: int, **fields: Any) -> Scene:
    """Inserts a step before the one of that number."""
    plan = scene.boot.plan
    base = PlanStep(0, 0, "added", AccessKind.FETCH, INT3, 1, INT3)
    plan.insert(number, replace(base, **fields))
    plan[:] = [replace(step, step=index) for index, step in enumerate(plan)]
    return scene


def with_int3(scene: Scene | None = None) -> Scene:
    return with_step(scene or healthy(), 1, name="int3", vector=3)


def with_idt(scene: Scene, data: bytes) -> Scene:
    scene.boot.memories["idt", "handoff"] = MemoryContents(0, "idt", "handoff", b.IDT, data)
    return scene


def judged(scene: Scene, log: LogReport | None = None) -> Verdict:
    return analyze(scene.capture(), log)


def predicted(scene: Scene) -> Prediction:
    prediction = judged(scene).prediction
    assert prediction is not None
    return prediction


def foreseen(scene: Scene) -> PlanPrediction:
    boot = scene.capture().boots[0]
    switch = planned_switch(boot)
    assert switch is not None
    return predict_plan(switch, Intent(boot))


def words(prediction: Prediction) -> str:
    return "\n".join(map(text, prediction.chain))


def striking(verdict: Verdict) -> list[tuple[str, int]]:
    return [(f.rule, f.step) for f in verdict.findings if f.step is not None]


def wrong_frame(virt: int, phys: int) -> Scene:
    scene = healthy()
    slot = scene.tables.slot(virt, 1)
    scene.tables.put(slot, scene.tables.get(slot) & ~0x000F_FFFF_FFFF_F000 | phys)
    return scene


def fits(report: str) -> bool:
    """Whether every line has at most 100 columns."""
    return all(len(line) <= 100 for line in report.splitlines())
