"""How long gdb's `cr3scope` commands take on a stopped guest's tables."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

COMMANDS = ("check", "walk $pc", "maps", "diff")
SECONDS = 120.0
_SCRIPT = Path(__file__).resolve().parents[2] / "scripts/gdb/cr3scope_gdb.py"
_TIMED = """python
import time
_began = time.perf_counter()
_lines = gdb.execute("cr3scope {command}", to_string=True).count("\\n")
gdb.write(f"timed {{time.perf_counter() - _began:.3f}} {{_lines}} {command}\\n")
end
"""
_TIME = re.compile(r"^timed (\S+) (\d+) (.*)$", re.MULTILINE)


def seconds(stub: Path, script: Path, commands: tuple[str, ...] = COMMANDS) -> dict[str, float]:
    """Seconds of each command, each on memory that was not read before.

    ``stub``: the socket of QEMU's stub; ``script``: where gdb's commands may be written.
    """
    script.write_text("".join(_TIMED.format(command=command) for command in commands))
    done = subprocess.run(
        ["gdb", "-q", "-nx", "-batch", "-ex", "set architecture i386:x86-64",
         "-ex", f"source {_SCRIPT}", "-ex", f"target remote {stub}",
         "-x", str(script), "-ex", "disconnect"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    found = {match[3]: float(match[1]) for match in _TIME.finditer(done.stdout)}
    missing = [command for command in commands if command not in found]
    if missing:
        raise SystemExit(f"bench: cr3scope {missing[0]} gave no time: {done.stderr.strip()}")
    return found
