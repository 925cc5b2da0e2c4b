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
PARTS = ("generated", "loader", "kernel")
# Of C and of assembly, in each part.
SOME_OBJECTS = ("loader/loader/main.c.o", "loader/trace/exception_stubs.S.o", "kernel/kernel/main.c.o", "kernel/kernel/entry.S.o")


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
    for part in PARTS:
        shutil.copytree(compiled / part, build / part, ignore=shutil.ignore_patterns("*.elf", "*.efi"))
    copied = {file: file.stat().st_mtime_ns for file in build.rglob("*.o")}
    made(build, *words)
    assert {file: file.stat().st_mtime_ns for file in build.rglob("*.o")} == copied
    return build


def compiled_by_another_name(compiled: Path, build: Path, *words: str) -> Path:
    """Images of which the compiler's other name made some objects; the others would come out as they are."""
    subprocess.run(["make", "-s", build / "toolchain", f"BUILD={build}", *words], cwd=ROOT, check=True)
    for part in PARTS:
        ignored = shutil.ignore_patterns("*.elf", "*.efi")
        shutil.copytree(compiled / part, build / part, ignore=ignored, copy_function=shutil.copyfile)  # younger than the toolchain
    for name in SOME_OBJECTS:
        (build / name).unlink()
    copied = {file: file.stat().st_mtime_ns for file in build.rglob("*.o")}
    made(build, *words)
    made_now = {file: file.stat().st_mtime_ns for file in build.rglob("*.o")}
    assert copied.items() <= made_now.items() and made_now.keys() - copied.keys() == {build / name for name in SOME_OBJECTS}
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
        compiled_by_another_name(reference.build(), build, *PREFIX)
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
