"""A rule speaks in its modes alone: whoever asks rules holds it to them, from real mode to 5-level paging."""

from __future__ import annotations

from dataclasses import replace

import pytest
from analyze.boot_builder import healthy
from analyze.dead_guest import Ram, guest

from cr3scope.diagnose import audit, logged
from cr3scope.diagnose.catalogue import BY_ID, RULES
from cr3scope.diagnose.finding import Finding, Severity
from cr3scope.diagnose.logged_death import LoggedDeath
from cr3scope.diagnose.rule import Claim, Context, Rule
from cr3scope.diagnose.spoken import spoken
from cr3scope.input.logs.event import RegisterDump
from cr3scope.message import Message
from cr3scope.verdict import analysis
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.mode import ALL_MODES, BITS_32, LONG, OF_FILES, PROTECTED, Mode, mode_of

PG, PE, PAE, LA57, LMA = 1 << 31, 1, 1 << 5, 1 << 12, 1 << 10
STATES = {  # CR0, CR4, EFER
    Mode.REAL: (PG, 0, 0),
    Mode.PROTECTED: (PE, PAE, 0),
    Mode.BITS_32: (PG | PE, LA57, 0x900),
    Mode.PAE: (PG | PE, PAE | LA57, 0x100),
    Mode.LEVELS_4: (PG | PE, PAE, LMA),
    Mode.LEVELS_5: (PG | PE, PAE | LA57, LMA),
}


def rule(modes: frozenset[Mode]) -> Rule:
    """One that finds something wherever it is asked."""

    def check(_context: Context) -> list[Finding]:
        return [made.finding(Message("asked"))]

    def logs(_death: LoggedDeath) -> list[Finding]:
        return [made.finding(Message("asked"))]

    made = Rule(
        "made-up", "t", Severity.ERROR, modes, "r", "s", "f", "m", lambda _context, _strike: Claim(Message("asked")),
        lambda context: iter(check(context)), logged=lambda death: iter(logs(death)),
    )  # fmt: skip
    return made


@pytest.mark.parametrize("mode", Mode)
def test_control_registers_tell_the_mode_to_the_model_and_to_a_log(mode: Mode) -> None:
    cr0, cr4, efer = STATES[mode]
    assert mode_of(CpuState(0, cr0, cr4, efer)) is mode
    assert RegisterDump(cr0=cr0, cr4=cr4, efer=efer).mode is mode


@pytest.mark.parametrize(("dump", "mode"), [
    (RegisterDump(), None), (RegisterDump(cr0=PG | PE), None), (RegisterDump(code_bits=64), Mode.LEVELS_4),
    (RegisterDump(cr0=PG | PE, cr4=PAE), None), (RegisterDump(cr0=PG | PE, cr4=0), Mode.BITS_32),
])  # fmt: skip
def test_a_log_that_leaves_something_out_tells_no_mode_that_may_be_wrong(dump: RegisterDump, mode: Mode | None) -> None:
    assert dump.mode is mode


def test_a_trace_asks_a_rule_in_its_modes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = healthy().capture()
    for modes, found in ((LONG, ["made-up"]), (BITS_32, []), (OF_FILES, [])):
        monkeypatch.setattr(analysis, "RULES", (rule(modes),))
        assert [one.rule for one in analysis.analyze(capture).findings] == found


@pytest.mark.parametrize("mode", Mode)
def test_a_log_asks_a_rule_in_its_modes_alone(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    cr0, cr4, efer = STATES[mode]
    death = LoggedDeath(dump=RegisterDump(cr0=cr0, cr4=cr4, efer=efer))
    monkeypatch.setattr(logged, "death_in", lambda _report: death)
    for modes in (frozenset({mode}), ALL_MODES - {mode}):
        monkeypatch.setattr(logged, "RULES", (rule(modes),))
        assert len(logged.findings_of_log(None)) == (mode in modes)  # type: ignore[arg-type]


def test_what_a_rule_says_of_a_dead_cpu_in_another_mode_is_dropped() -> None:
    dead = guest(Ram())
    off = replace(dead, registers={**dead.registers, "CR0": PE, "EFER": 0})
    found = [BY_ID["compatibility-mode"].finding(Message("said")), BY_ID["instruction-refused"].finding(Message("said"))]
    assert [one.rule for one in spoken(dead, found)] == ["compatibility-mode", "instruction-refused"]
    assert [one.rule for one in spoken(off, found)] == ["instruction-refused"]


def test_a_standing_cpu_asks_a_rule_in_its_modes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for modes, found in ((LONG, ["made-up"]), (BITS_32, [])):
        monkeypatch.setattr(audit, "_CHECKS", (rule(modes),))
        assert [one.rule for one in audit.audit([guest(Ram())], None, True) if one.rule == "made-up"] == found


def test_what_only_files_show_names_no_mode_and_all_else_does() -> None:
    from cr3scope.diagnose.rule import finds_nothing_in_file

    without = {one.id for one in RULES if not one.modes}
    assert without and all(BY_ID[one].lint is not finds_nothing_in_file for one in without)
    assert not any(one.modes == frozenset({Mode.REAL}) and one.needs for one in RULES)  # a switch is to paging
    assert PROTECTED < ALL_MODES
