"""`cr3scope blame` names the line that the analyzer names for the same entry."""

from __future__ import annotations

import re
from pathlib import Path

from boot.snapshot import boot_from_snapshot
from gdb_session import at_switch, debug, gdb, unwrapped

OF_THE_FAULT, OF_THE_LOADER = "nx-upper-level", "stack-readonly"  # whose code writes the entry
HEADLINE = re.compile(r"^[A-Z0-9]+\[\d+\] at 0x[0-9a-f]+: \d+ writes? changed it$", re.MULTILINE)  # of an entry
NOBODY_SET = "0xffff900000000000:PML4"
# By its place, which every boot has elsewhere: by what the table's walk says in the one that is stopped.
ASKED = """\
python
walked = gdb.execute("cr3scope walk $rsp-8 --access w --new", to_string=True)
place = next(line.split()[1] for line in walked.splitlines() if line.startswith("PT["))
print("asked", place)
gdb.execute("cr3scope blame {others} " + place)
end
"""
SECONDS = 240  # for three boots on busy processors


def test_last_write_is_by_the_line_that_the_analyzer_names(tmp_path: Path) -> None:
    """Of one loader with two faults: one boot tells of all entries."""
    both = f"{OF_THE_FAULT},{OF_THE_LOADER}"
    verdict = boot_from_snapshot(tmp_path / "analyzed", inject=both).verdict
    named = {one["rule"]: one for one in verdict["findings"]}
    others = f"{verdict['observation']['first']['cr2']}:{named[OF_THE_FAULT]['entry']['level']} {NOBODY_SET}"
    text = debug(tmp_path / "debugged", ASKED.replace("{others}", others), both, seconds=SECONDS)
    answers = dict(zip((OF_THE_FAULT, "none", OF_THE_LOADER), re.split(HEADLINE, text)[1:], strict=True))
    for rule in (OF_THE_LOADER, OF_THE_FAULT):
        finding, last = named[rule], answers[rule].split("\nwrite ")[-1]
        number, words = finding["source"].rpartition(":")[2], finding["source_text"]
        assert words and f"at {finding['source']}\n      {number} | {words}\n" in last, (finding["source"], text)
    assert re.search(r"at the switch: 0x0 \(not present\)", answers["none"]), text
    assert "Traceback" not in text


REFUSED = {
    "0xdda0001": "0xdda0001 is no entry: entries lie at multiples of 8",
    "0x0": "0x0 lies in no table that CR3 ",
    "0x0:PML9": "PML9: no level: PML5, PML4, PDPT, PD, PT or 5 to 1",
    "0x0:PML4 0x0:PDPT 0x0 0x8 waits=1": "at most 3 entries at once: the guest runs under KVM, whose 4 debug registers are real",
}


def test_what_is_no_entry_is_refused_without_a_reset(tmp_path: Path) -> None:
    # A sourced file ends with the first error: each is caught.
    asked = (f"    gdb.execute({f'cr3scope blame {words}'!r})" for words in REFUSED)
    under_kvm = "import cr3scope_commands.blame as one; one.is_emulated = lambda: False\n"
    tries = under_kvm + "".join(f"try:\n{one}\nexcept gdb.error as error:\n    print(error)\n" for one in asked)
    place = 'printf "at %#lx under %#lx\\n", $rip, $cr3\n'
    text = at_switch(tmp_path, f"{place}python\n{tries}end\n{place}", judged="")
    for line in REFUSED.values():
        assert f"cr3scope blame: {line}" in unwrapped(text), text
    before, after = re.findall(r"^at 0x[0-9a-f]+ under 0x[0-9a-f]+$", text, re.MULTILINE)
    assert before == after, text


def test_no_target_is_one_line() -> None:
    assert gdb("cr3scope blame 0x1000").startswith("cr3scope blame: no target")
