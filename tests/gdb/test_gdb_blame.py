"""`cr3scope blame` names the line that the analyzer names for the same entry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from boot.snapshot import boot_from_snapshot
from gdb_session import debug, gdb


NOBODY_SET = "cr3scope blame 0xffff900000000000:PML4\n"


# The second asks in the boot that the first question has made: an entry stays where it is from there on.
@pytest.mark.parametrize("inject, before", [("nx-upper-level", ""), ("stack-readonly", NOBODY_SET)])
def test_last_write_is_by_the_line_that_the_analyzer_names(inject: str, before: str, tmp_path: Path) -> None:
    analyzed = boot_from_snapshot(tmp_path / "analyzed", inject=inject)
    finding = analyzed.verdict["findings"][0]
    entry, virt = finding["entry"], analyzed.verdict["observation"]["first"]["cr2"]
    asked = f"{before}cr3scope blame {virt}:{entry['level']}\n"
    text = debug(tmp_path / "debugged", asked, inject)
    last = text.split("\nwrite ")[-1]
    number, words = finding["source"].rpartition(":")[2], finding["source_text"]
    assert words and f"at {finding['source']}\n      {number} | {words}\n" in last, (finding["source"], text)
    assert "Traceback" not in text
    if before:
        assert re.search(r"at the switch: 0x0 \(not present\)", text), text


REFUSED = {
    "0xdda0001": "0xdda0001 is no entry: entries lie at multiples of 8",
    "0x0": "0x0 lies in no table that CR3 ",
    "0x0:PML9": "PML9: no level: PML5, PML4, PDPT, PD, PT or 5 to 1",
}


def test_what_is_no_entry_is_refused_without_a_reset(tmp_path: Path) -> None:
    # A sourced file ends with the first error: each is caught.
    asked = (f"    gdb.execute({f'cr3scope blame {words}'!r})" for words in REFUSED)
    tries = "".join(f"try:\n{one}\nexcept gdb.error as error:\n    print(error)\n" for one in asked)
    place = 'printf "at %#lx under %#lx\\n", $rip, $cr3\n'
    text = debug(tmp_path, f"{place}python\n{tries}end\n{place}")
    for line in REFUSED.values():
        assert f"cr3scope blame: {line}" in text, text
    before, after = re.findall(r"^at 0x[0-9a-f]+ under 0x[0-9a-f]+$", text, re.MULTILINE)
    assert before == after, text


def test_no_target_is_one_line() -> None:
    assert gdb("cr3scope blame 0x1000").startswith("cr3scope blame: no target")
