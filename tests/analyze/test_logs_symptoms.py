"""The index by symptom in docs/any-guest.md: what each row shows, fed to triage, comes to the rule that the row names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from analyze.short_log import NARROW, NO_PAGING, WIDE, Cpu, Log
from boot.reference import ROOT

from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.verdict.log import judge_log

USER = replace(NARROW, cpl=3, cs=0x1B, rip=0x40_2010, rsp=0xBFFF_FF00)
HANDLER = 0x20_9000


def at_selector(cpu: Cpu, error: int) -> Log:
    """An event whose gate names a selector, and the #GP that names it too."""
    return Log().exception(6, 0, cpu).exception(13, error, cpu).double_fault(13, 13, cpu).triple_fault()


def at_gate(vector: int, event: str) -> Log:
    log = Log(version=9)
    log = log.interrupt(vector, WIDE) if event == "interrupt" else log.instruction(vector, WIDE)
    return log.death(13, log.gate(vector, WIDE), WIDE)


# In the order of the table.
SYMPTOMS: tuple[tuple[str, Callable[[], Log]], ...] = (
    ("IDT= base 0", lambda: Log().death(14, 0, replace(WIDE, idt=(0, 0), cr2=0x80_0000))),
    ("e= above the limit", lambda: Log().death(13, 0x48, WIDE)),
    ("f000 and ff53", lambda: Log().death(13, 8, replace(NO_PAGING, gdt=(0xF000_FF53, 0xF000)))),
    ("INT=0x08", lambda: Log().interrupt(8, NARROW).death(13, 8 * 8 + 2, NARROW)),
    ("new 0xb", lambda: Log().death(14, 0, replace(NARROW, cr2=0x80_0000), struck=11)),
    ("new 0xd", lambda: Log().death(14, 0, replace(NARROW, cr2=0x80_0000), struck=13)),
    ("vector * 8 + 2", lambda: at_gate(0x31, "interrupt")),
    ("a gate beyond", lambda: Log().death(14, 0, replace(NARROW, idt=(0x7_1000, 0x5F), cr2=0x80_0000))),
    ("at the same place", lambda: at_selector(WIDE, 0x58)),
    ("CR2 in the IDT", lambda: Log().death(13, 0, WIDE, struck=14, cr2=WIDE.idt[0] + 13 * 16)),
    ("Triple fault alone", lambda: Log(["Triple fault"]).reset(replace(NARROW, cr2=NARROW.idt[0] + 8 * 8))),
    ("CR2 at its gate", lambda: Log().interrupt(0x2C, WIDE).death(
        14, 0, replace(WIDE, cr2=WIDE.idt[0] + 0x2C * 16), struck=14, cr2=WIDE.idt[0] + 14 * 16)),
    ("CR2 in the GDT", lambda: Log().death(13, 0, WIDE, struck=14, cr2=WIDE.gdt[0] + 8)),
    ("right below SP", lambda: Log().death(13, 0, WIDE, struck=14, cr2=WIDE.rsp - 8)),
    ("e=0003", lambda: Log().death(14, 3, replace(WIDE, cr2=WIDE.rsp - 8), struck=14)),
    ("ff..f8", lambda: Log().death(13, 0, USER, struck=14, cr2=0xFFFF_FFFC)),
    ("v=0a", lambda: Log().instruction(0x80, replace(USER, task=0)).exception(10, 0, replace(USER, task=0))),
    ("CR2 = IP right behind", lambda: Log().exception(6, 0, WIDE).exception(
        14, 0x10, replace(WIDE, rip=HANDLER, cr2=HANDLER, rsp=WIDE.rsp - 40))),
    ("low bits of the IP", lambda: Log().exception(14, 2, replace(WIDE, cr2=0x80_0000)).exception(
        13, WIDE.rip & 0xFFFC, replace(WIDE, rip=HANDLER, rsp=WIDE.rsp - 48))),
    ("bit 3 in", lambda: Log().exception(14, 8, replace(WIDE, cr2=0x80_0000))),
    ("no flags", lambda: Log().exception(14, 0, replace(NARROW, cr3=0x10_6A84, cr2=0x80_0000))),
    ("upper bits", lambda: Log().exception(13, 0, replace(WIDE, rip=0x0000_9000_0020_0000))),
    ("printable", lambda: Log().exception(13, 0, replace(WIDE, rip=int.from_bytes(b"too long", "little")))),
    ("CR0=80000010", lambda: Log(["Triple fault"]).reset(replace(NARROW, cr0=0x8000_0010))),
)  # fmt: skip


def rows() -> list[list[str]]:
    page = (ROOT / "docs/any-guest.md").read_text()
    table = re.search(r"<!-- symptoms: .*?-->\n(.*?)<!-- end of symptoms -->", page, re.S)
    assert table is not None
    return [line.strip("| ").split(" | ") for line in table[1].splitlines()[2:]]


def rules(folder: Path, log: Log) -> list[str]:
    path = folder / "log"
    path.write_text(log.text)
    with LogFile(path) as opened:
        return [one.rule for one in judge_log(read_story(opened)).findings]


def test_each_row_has_a_log_and_each_log_its_row() -> None:
    told = [row[0].replace("`", "") for row in rows()]
    assert len(told) == len(SYMPTOMS)
    assert [sign for (sign, _), words in zip(SYMPTOMS, told) if sign not in words] == []


@pytest.mark.parametrize("number", range(len(SYMPTOMS)), ids=[sign for sign, _ in SYMPTOMS])
def test_what_a_row_shows_comes_to_the_rule_that_it_names(tmp_path: Path, number: int) -> None:
    symptom, _, rule = rows()[number]
    assert rule.strip("`") in rules(tmp_path, SYMPTOMS[number][1]()), symptom
