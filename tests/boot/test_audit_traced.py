"""What would strike next is asked of a traced boot too, where the machine is still there at its end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from boot.firmware import stand_in
from boot.qemu_words import qemu_words
from boot.reference import BOOT_SECONDS, ROOT, build
from boot.verbs import run_traced

_EXIT = "isa-debug-exit"


def test_the_reference_boot_that_stays_is_silent_and_was_asked(tmp_path: Path) -> None:
    """Without the device by which the kernel ends QEMU it halts, and is asked like anybody's."""
    built = build()
    subprocess.run([ROOT / "scripts/boot/prepare", built, tmp_path], env={**os.environ, "INJECT": "", "CONFIG": ""}, check=True)
    command = qemu_words(tmp_path, {"QEMU": stand_in({})})
    place = next(at for at, word in enumerate(command) if word.startswith(_EXIT))
    del command[place - 1 : place + 1]
    run = run_traced(tmp_path, built / "loader/loader.elf", built / "kernel/kernel.elf", command, BOOT_SECONDS)
    assert (run.status, run.verdict["verdict"]) == (0, "healthy"), run.explain()
    assert run.verdict["findings"] == [], run.explain()
