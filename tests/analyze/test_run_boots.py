"""A run of several traced boots: the log's boots are held beside them, as `analyze --log` holds them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from short_log import WIDE, Log

from cr3scope.cli.run_verdict import judge_run
from cr3scope.input.capture.reader import read_capture
from cr3scope.qemu.outcome import Outcome, Reason
from cr3scope.render.message import plain
from cr3scope.verdict.boots import planned_cr3
from cr3scope.verdict.types import Status

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
HEALTHY = (CAPTURES / "healthy.serial.log").read_bytes()
NX = (CAPTURES / "nx-upper-level.serial.log").read_bytes()
[BOOT] = read_capture(NX).boots
UNDER_NEW_TABLES = replace(WIDE, cr3=planned_cr3(BOOT) or 0, rip=BOOT.elfs[0].entry, cr2=BOOT.elfs[0].entry, idt=(0, 0))


def died(log: Log) -> Log:
    return log.death(14, 0x11, UNDER_NEW_TABLES).reset(UNDER_NEW_TABLES)


def lived(log: Log) -> Log:
    return log.interrupt(0x20, WIDE)


@pytest.mark.parametrize("number", [1, 2])
def test_each_boot_of_the_log_is_held_beside_that_of_the_capture(number: int, tmp_path: Path) -> None:
    """Both switched and were not heard of again: which of them died only the order of the log tells."""
    log = tmp_path / "interrupts.log"
    log.write_text((lived(died(Log())) if number == 1 else died(lived(Log()).reset(WIDE))).text)
    verdict = judge_run(NX + NX, log, (), Outcome(started=True))
    told = [plain(said.message) for said in verdict.diagnostics]
    assert [boot.status for boot in verdict.boots] == [
        Status.FAULTED if boot == number else Status.WILL_FAULT for boot in (1, 2)
    ]
    assert not any("is taken for" in words for words in told)


def test_how_the_run_ended_is_said_of_the_last_boot(tmp_path: Path) -> None:
    log = tmp_path / "interrupts.log"
    log.write_text(lived(lived(Log()).reset(WIDE)).text)
    cut = HEALTHY[: HEALTHY.index(b" section ")].rsplit(b"\n", 1)[0] + b"\n"
    verdict = judge_run(HEALTHY + cut, log, (), Outcome(started=True, reason=Reason.TIMEOUT, seconds=60, registers={"RIP": 0x1000}))
    assert [boot.status for boot in verdict.boots] == [Status.HEALTHY, Status.HUNG]


def test_a_log_of_another_number_of_boots_is_held_beside_the_capture_as_a_whole(tmp_path: Path) -> None:
    log = tmp_path / "interrupts.log"
    log.write_text(died(Log()).text)
    verdict = judge_run(NX + NX, log, (), Outcome(started=True))
    assert verdict.status is Status.FAULTED
    assert any("its death is taken for that of number 2" in plain(said.message) for said in verdict.diagnostics)
