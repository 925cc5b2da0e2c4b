"""Verdicts whose pages are looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import boot_builder as b
from boot_builder import Scene, healthy

from cr3scope.input.capture.reader import read_capture
from cr3scope.input.diagnostic import Diagnostic
from cr3scope.message import Message
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Verdict

CAPTURES = Path(__file__).parents[1] / "captures"
EVIL = "</script><script>window.evil=1</script><img src=x onerror=window.evil=1>\x1b[31m\u202e\"'`<!--"


def of_scene(scene: Scene) -> Verdict:
    return analyze(scene.capture())


def of_capture(name: str) -> Verdict:
    return analyze(read_capture((CAPTURES / name).read_bytes()))


def hostile() -> Verdict:
    """A boot that dies, with what would be markup, script or a terminal's command in every name that a guest gives."""
    scene = healthy()
    scene.tables.edit(b.ENTRY, 4, set_bits=b.NX)
    boot = scene.boot
    boot.maps = [replace(one, name=EVIL, role=EVIL, type=EVIL) for one in boot.maps]
    boot.regions = [replace(one, name=EVIL, role=EVIL) for one in boot.regions]
    boot.segments = [replace(one, of=EVIL) for one in boot.segments]
    boot.images = [replace(one, name=EVIL, file=EVIL) for one in boot.images]
    boot.plan = [replace(one, name=EVIL) for one in boot.plan]
    boot.firmware, boot.config = EVIL, {EVIL: EVIL}
    verdict = of_scene(scene)
    evil = Message(EVIL)
    found = tuple(
        replace(one, rule=EVIL, title=evil, proof=(evil,), fix=evil, source=EVIL, also=(replace(one, title=evil),))
        for one in verdict.findings
    )
    return replace(verdict, findings=found, diagnostics=(Diagnostic(EVIL),))
