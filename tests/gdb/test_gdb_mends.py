"""The mends that a verdict names, made in the guest: what was foreseen does not come, and what it names next does.

In a model of the tables, for all rows: tests/boot/test_mends.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from boot.fault_rows import FORMS
from boot.mending import TRIED, Mended, left_free
from boot.reference import Run, sample
from boot.shared_run import shared_run
from boot.snapshot import at_loader
from cr3scope.input.capture.dump_tables import DumpTables
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.recorded_state import cpu_state
from cr3scope.input.capture.records import Boot
from cr3scope.x86.entry import ENTRY_BYTES, PAGE_BYTES
from gdb_session import at_switch, session, unwrapped

AHEAD = "once that is mended: "
# Writes the value that the first mend of `check` names to the entry that it names. Without the trace, which lets
# `check` mend several entries of one cause.
MEND = """cr3scope trace off
python
import re
said = gdb.execute("cr3scope check", to_string=True)
print("UNTRACED")
print(said)
at = re.search(r"entry  .* at (0x[0-9a-f]+) = ", said)[1]
value = re.search(r"\\(then (0x[0-9a-f]+)\\)", said)[1]
gdb.execute("maintenance packet Qqemu.PhyMemMode:1", to_string=True)
gdb.execute(f"set var *(unsigned long *) {at} = {value}")
gdb.execute("maintenance packet Qqemu.PhyMemMode:0", to_string=True)
print("mended", at, value)
end
"""
# Runs to the switch, writes there, and goes on to QEMU's end or to where the safe IDT's handler halts the CPU.
WRITE = """
set confirm off
add-symbol-file {loader} -o {base:#x}
hbreak *&switch_mov_cr3
continue
delete
maintenance packet Qqemu.PhyMemMode:1
python
for at, word, width in {words}:
    gdb.selected_inferior().write_memory(at, word.to_bytes(width, "little"))
print("WRITTEN")
end
maintenance packet Qqemu.PhyMemMode:0
find /b &cpu_halt, +{reach}, 0xfa, 0xf4
hbreak *$_
continue
"""
HANDLER_REACH = 64
PROBED = r"raised in probe_run|#PF \(error 0011: instruction fetch, present\)"

EVERY = 4  # of how many rules and pairs `make test` takes one
# Of two mended causes the first alone is mended: then the second strikes.
PAIRS = [
    "nx-leaf-code,stack-unmapped",
    "identity-missing-trampoline,code-unmapped",
    "upper-level-readonly:data-pd,nx-upper-level:kernel",
    "boot-info-unmapped,gdt-unmapped:int3",
    "framebuffer-unmapped,shared-page-permissions",
    "smep-smap-user-bit:smap,stack-readonly",
    "reserved-bits:trampoline,reserved-bits:large",
]
# The kernel's checks of the tables that were handed to it, which others have changed since; of new tables it
# was told nothing.
CHANGED = {"tables.crc"}
ADDED = {"tables.write-xor-execute", "tables.as-handed", "recursive.window", "dump.whole"}


@dataclass(frozen=True, slots=True)
class Mending:
    """A boot as it is without mends, and what of its verdict is to be mended, and what then strikes."""

    run: Run
    mended: Mended
    following: Any

    @property
    def boot(self) -> Boot:
        return read_capture(self.run.serial).boots[-1]


def mending(inject: str, whole: bool) -> Mending:
    """``whole``: all that can be mended; else the first finding that strikes."""
    run = shared_run(inject=inject, config=FORMS["safe"])
    boot = read_capture(run.serial).boots[-1]
    striking = [one for one in run.verdict["findings"] if one["severity"] == "error" and one["step"] is not None]
    assert striking and striking[0]["mends"], run.explain()
    mended = Mended(DumpTables(boot.dumps["new"]), cpu_state(boot.cpus["handoff"]), left_free(boot))
    first = striking if whole else striking[:1]
    for finding in first:
        mended.carry_out(finding["mends"])
    return Mending(run, mended, striking[len(first)] if len(first) < len(striking) else None)


def mended_boot(folder: Path, inject: str, of: Mending) -> Boot:
    """Return what the trace tells of the same boot once the words are written."""
    command, snapshot = at_loader(folder, inject=inject, config=FORMS["safe"])
    serial = folder / "serial.log"
    words = [(page, 0, PAGE_BYTES) for page in of.mended.added]
    words += [(at, value, ENTRY_BYTES) for at, value in of.mended.written.items()]
    base = of.boot.images[0].base
    commands = WRITE.format(loader=snapshot.folder / "loader.elf", base=base, words=words, reach=HANDLER_REACH)
    text = session(folder, [*command, "-serial", f"file:{serial}", "-no-reboot"], commands, snapshot.state)
    assert "WRITTEN" in text, text
    return read_capture(serial.read_bytes()).boots[-1]


@pytest.mark.parametrize("inject", sample(list(TRIED.values()), EVERY))
def test_with_the_mends_of_all_findings_the_kernel_runs_to_its_end(inject: str, tmp_path: Path) -> None:
    of = mending(inject, whole=True)
    assert of.following is None
    boot = mended_boot(tmp_path / "mended", inject, of)
    assert not boot.faults, boot.faults
    assert boot.complete
    failed = {check.name for check in boot.checks if not check.passed}
    assert CHANGED <= failed <= CHANGED | (ADDED if of.mended.added else set()), failed


@pytest.mark.parametrize("inject", sample(PAIRS, EVERY))
def test_with_the_mends_of_the_first_finding_the_next_one_strikes(inject: str, tmp_path: Path) -> None:
    of = mending(inject, whole=False)
    assert of.following is not None, of.run.explain()
    said = of.following["facts"]["raises"]
    assert said["vector"] != of.run.verdict["prediction"]["vector"] or said["rip"] != of.run.verdict["prediction"]["rip"]
    boot = mended_boot(tmp_path / "mended", inject, of)
    assert boot.faults, "the kernel runs"
    first = boot.faults[0].registers
    assert (first["vector"], first["error"]) == (said["vector"], said["error_code"]), first
    assert (first["cr2"], first["rip"]) == (int(said["cr2"], 0), int(said["rip"], 0)), first


@pytest.mark.parametrize("inject", ["nx-upper-level", "stack-readonly", "nx-leaf-code:entry,boot-info-unmapped"])
def test_what_would_break_next_does_once_the_first_is_mended(inject: str, tmp_path: Path) -> None:
    text = unwrapped(at_switch(tmp_path, f"{MEND}echo STEPPED\\n\ncr3scope step", inject, "safe_idt=on"))
    before, after = text.split("UNTRACED")[1].split("STEPPED")
    assert "mended 0x" in before, text
    coming = re.search(f"^{AHEAD}(.*)", before, re.MULTILINE)
    assert coming, text
    raised = re.match(r"faults at the [a-z ]+: (#\w+ \(error .*?\), CR2=\w+), (RIP=\w+)", coming[1])
    if raised is None:
        assert coming[1].startswith("survives "), text
        # The kernel then makes faults of its own, on purpose, and may be caught at one: in its probe, or where that jumps to.
        assert "caught #" not in after or re.search(PROBED, after), text
        assert "no handler" not in after, text
        return
    caught = after.split("caught #")[1]
    assert raised[1] in caught, text
    assert f"frame: {raised[2]} " in caught, text
