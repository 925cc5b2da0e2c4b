"""`cr3scope listen` at a pseudo terminal that speaks as fast as a line of 921600 baud, without a pause."""

from __future__ import annotations

import os
import pty
import resource
import subprocess
import time
import tty
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BAUD, BITS_PER_BYTE, SECONDS = 921600, 10, 8
_PIECE = 512  # bytes between two looks at the clock
_CAPTURE = ROOT / "tests/captures/healthy.serial.log"
_IDLE = 2  # seconds of silence, after which the last boot is judged


def _spoken() -> bytes:
    """Boots one behind the other, each judged while the next is heard; the last one is cut off."""
    boot = _CAPTURE.read_bytes()
    count = BAUD // BITS_PER_BYTE * SECONDS
    return (boot * (count // len(boot) + 1))[:count]


def figures(folder: Path) -> list[tuple[str, float, str, float]]:
    """Return name, value, unit and limit of each figure."""
    said, kept = _spoken(), folder / "heard"
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [ROOT / "scripts/cr3scope", "listen", os.ttyname(theirs), "--baud", str(BAUD), "--idle", str(_IDLE), "-o", kept, "-q",
         "--timeout", str(SECONDS + 60)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
    begun = time.perf_counter()
    at = 0
    while at < len(said):
        at += os.write(ours, said[at : at + _PIECE])
        ahead = at * BITS_PER_BYTE / BAUD - (time.perf_counter() - begun)
        if ahead > 0:
            time.sleep(ahead)
    took = time.perf_counter() - begun
    os.close(theirs)
    os.close(ours)
    process.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    heard = b"".join(file.read_bytes() for file in sorted(kept.glob("boot-*.log")))
    lost = len(said) - len(heard) if said.startswith(heard) else len(said)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [
        (f"listen at {BAUD} baud: bytes lost of {len(said)}", lost, "bytes", 0),
        ("how much longer than the line the sender took", took / SECONDS, "x", 1.05),
        ("its CPU time for a second of that line, boots judged", spent / SECONDS, "s", 1),
    ]
