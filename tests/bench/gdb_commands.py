"""How long gdb's `cr3scope` commands take, by a script that gdb runs at a stop."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

SECONDS = 120.0
_LOADER = Path(__file__).resolve().parents[2] / "scripts/gdb/cr3scope_gdb.py"
_TIMED = """python
import time
_began = time.perf_counter()
gdb.execute("cr3scope {command}", to_string=True)
gdb.write(f"timed {{time.perf_counter() - _began:.3f}} {command}\\n")
end
"""
_TIME = re.compile(r"^timed (\S+) (.*)$", re.MULTILINE)


def script(commands: Sequence[str]) -> str:
    """What gdb runs; each command reads memory that was not read before."""
    return "".join(_TIMED.format(command=command) for command in commands)


def times(output: str, commands: Sequence[str]) -> dict[str, float]:
    """Seconds of each command, from what gdb printed."""
    found = {match[2]: float(match[1]) for match in _TIME.finditer(output)}
    missing = [command for command in commands if command not in found]
    if missing:
        raise SystemExit(f"bench: cr3scope {missing[0]} gave no time: {output.strip()[-500:]}")
    return found


def at_stub(stub: Path, file: Path, commands: Sequence[str]) -> dict[str, float]:
    """On the guest behind a stub's socket, as it stands; ``file`` is where the script may go."""
    file.write_text(script(commands))
    done = subprocess.run(
        ["gdb", "-q", "-nx", "-batch", "-ex", "set architecture i386:x86-64",
         "-ex", f"source {_LOADER}", "-ex", f"target remote {stub}", "-x", str(file), "-ex", "disconnect"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    return times(done.stdout + done.stderr, commands)
