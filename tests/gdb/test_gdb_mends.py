"""What `check` says would break next does: the mend is made in the guest, and the CPU goes on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gdb_session import debug, unwrapped

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


@pytest.mark.parametrize("inject", ["nx-upper-level", "stack-readonly", "nx-leaf-code:entry,boot-info-unmapped"])
def test_what_would_break_next_does_once_the_first_is_mended(inject: str, tmp_path: Path) -> None:
    text = unwrapped(debug(tmp_path, f"{MEND}echo STEPPED\\n\ncr3scope step", inject, "safe_idt=on"))
    before, after = text.split("UNTRACED")[1].split("STEPPED")
    assert "mended 0x" in before, text
    coming = re.search(f"^{AHEAD}(.*)", before, re.MULTILINE)
    assert coming, text
    raised = re.match(r"faults at the [a-z ]+: (#\w+ \(error .*?\), CR2=\w+), (RIP=\w+)", coming[1])
    if raised is None:
        assert coming[1].startswith("survives "), text
        # The kernel then makes faults of its own, on purpose, and may be caught at one.
        assert "caught #" not in after or "raised in probe_run" in after, text
        assert "no handler" not in after, text
        return
    caught = after.split("caught #")[1]
    assert raised[1] in caught, text
    assert f"frame: {raised[2]} " in caught, text
