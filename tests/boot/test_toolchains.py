"""The same boot from either compiler, from either linker, and from a compiler with a prefix."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from boot import firmware, reference
from boot.reference import BOOT_SECONDS, ROOT

LLD = ("TARGET_LD=ld.lld",)
CLANG = ("TOOLCHAIN=clang",)
PREFIX = ("CROSS_COMPILE=x86_64-linux-gnu-",)


@pytest.fixture(scope="module")
def clang(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("clang") / "build", *CLANG)


def made(build: Path, *words: str) -> Path:
    subprocess.run(["make", "-s", "build", f"BUILD={build}", *words], cwd=ROOT, check=True)
    return build


def linked_again(compiled: Path, build: Path, *words: str) -> Path:
    """Other images of the same objects, none of which make compiles again."""
    build.mkdir()
    shutil.copy2(compiled / "toolchain", build)
    for part in ("generated", "loader", "kernel"):
        shutil.copytree(compiled / part, build / part, ignore=shutil.ignore_patterns("*.elf", "*.efi"))
    copied = {file: file.stat().st_mtime_ns for file in build.rglob("*.o")}
    made(build, *words)
    assert {file: file.stat().st_mtime_ns for file in build.rglob("*.o")} == copied
    return build


@pytest.mark.parametrize(
    "toolchain",
    [
        pytest.param("clang", marks=pytest.mark.xdist_group("clang")),
        pytest.param("clang-lld", marks=pytest.mark.xdist_group("clang")),
        "gcc-lld",
        "prefix",
    ],
)
def test_toolchain_builds_a_boot_that_is_healthy(
    toolchain: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    build = tmp_path / "build"
    if toolchain == "prefix":
        made(build, *PREFIX)
    elif toolchain == "gcc-lld":
        linked_again(reference.build(), build, *LLD)
    elif toolchain == "clang-lld":
        linked_again(request.getfixturevalue("clang"), build, *CLANG, *LLD)
    else:
        build = request.getfixturevalue("clang")
    done = subprocess.run([ROOT / "scripts/boot/run-trace", build, tmp_path / "run"], cwd=ROOT,
                          capture_output=True, text=True, timeout=BOOT_SECONDS + 30,
                          env={**os.environ, "TIMEOUT": str(BOOT_SECONDS), "QEMU": firmware.stand_in({})})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("HEALTHY"), done.stdout
