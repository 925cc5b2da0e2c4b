"""The same boot from either compiler, from either linker, and from a compiler with a prefix."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from boot.reference import BOOT_SECONDS, ROOT

TOOLCHAINS = {
    "clang": ["TOOLCHAIN=clang"],
    "clang-lld": ["TOOLCHAIN=clang", "TARGET_LD=ld.lld"],
    "gcc-lld": ["TARGET_LD=ld.lld"],
    "prefix": ["CROSS_COMPILE=x86_64-linux-gnu-"],
}


@pytest.mark.parametrize("toolchain", TOOLCHAINS)
def test_toolchain_builds_a_boot_that_is_healthy(toolchain: str, tmp_path: Path) -> None:
    build = tmp_path / "build"
    subprocess.run(["make", "-s", "build", f"BUILD={build}", *TOOLCHAINS[toolchain]], cwd=ROOT, check=True)
    done = subprocess.run([ROOT / "scripts/boot/run-trace", build, tmp_path / "run"], cwd=ROOT,
                          capture_output=True, text=True, timeout=BOOT_SECONDS + 30,
                          env={**os.environ, "TIMEOUT": str(BOOT_SECONDS)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("HEALTHY"), done.stdout
