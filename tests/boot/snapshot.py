"""Boots that start where the firmware has just started the loader: most of a boot's time is firmware.

The machine is saved once for each build and each set of QEMU settings, stopped at the loader's first
instruction, before it reads cr3scope.cfg. Every boot restores it, on a boot volume in which only the
bytes of that file differ: the firmware knows the volume's directory and where the file lies by then.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from boot.reference import BOOT_SECONDS, BUILD, ROOT, Run, build
from boot.stopped_guest import NotStopped, Stop, save_at
from cr3scope.capture.reader import read_capture
from cr3scope.capture.records import Boot
from cr3scope.errors import UnusableInput
from elftools.elf.elffile import ELFFile

SCRIPTS = ROOT / "scripts/boot"
CONFIG_BYTES = 4096
MARKER = "# the configuration of a boot from a snapshot"
RESTORED_SECONDS = 20  # the longest a boot from a snapshot may take; most take one
OLD_SECONDS = 3600.0  # a snapshot of another build is removed when it is so old
CODE_BYTES = 32
PROGRAMS = ("loader/loader.efi", "loader/loader.elf", "kernel/kernel.elf")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stopped machine: ``folder`` holds its state, its boot volume and the programs on that."""

    folder: Path
    config_offset: int  # of cr3scope.cfg's bytes in the boot volume

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def disk(self) -> Path:
        return self.folder / "run/disk.img"


def boot_from_snapshot(
    folder: Path, *, config: str = "", inject: str = "", **environment: str
) -> Run:
    """As reference.boot, from where the loader starts. AssertionError if it read another configuration."""
    snapshot = _snapshot(tuple(sorted(environment.items())))
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line for line in (f"inject={inject}" if inject else "", *config.split(";")) if line]
    disk = folder / "disk.img"
    shutil.copyfile(snapshot.disk, disk)
    with open(disk, "r+b") as volume:
        volume.seek(snapshot.config_offset)
        volume.write(_padded("\n".join(lines) + "\n"))
    incoming = ["-incoming", f"exec:cat {shlex.quote(str(snapshot.state))}"]
    command = [*_command(folder, disk, environment), *incoming]
    run = _watch(folder, snapshot.folder, command, RESTORED_SECONDS)
    _check_configuration(run, inject, lines)
    return run


def _check_configuration(run: Run, inject: str, lines: Sequence[str]) -> None:
    """Bytes that the firmware had read before the snapshot would be those of another boot."""
    asked = dict(line.split("=", 1) for line in lines) | {"inject": inject}
    read = _traced(run).config
    keys = ["inject"] if inject else list(asked)  # a fault may bring other settings with it
    wrong = [f"{key}={read[key]}" for key in keys if key in read and read[key] != asked[key]]
    assert "inject" in read, f"the loader traced no configuration; {run.explain()}"
    assert not wrong, f"the loader read {wrong}, asked for was {asked}; {run.explain()}"


def _traced(run: Run) -> Boot:
    try:
        return read_capture(run.serial).boots[-1]
    except (UnusableInput, IndexError) as error:
        raise AssertionError(f"no boot in the trace: {error}; {run.explain()}") from error


def _padded(text: str) -> bytes:
    data = text.encode()
    assert len(data) <= CONFIG_BYTES, f"a configuration of {len(data)} bytes, at most {CONFIG_BYTES}"
    return data.ljust(CONFIG_BYTES, b"\n")


def _command(folder: Path, disk: Path, environment: dict[str, str]) -> list[str]:
    printed = subprocess.run(
        [SCRIPTS / "qemu-command", folder, disk],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return printed.splitlines()


def _watch(folder: Path, programs: Path, command: Sequence[str], seconds: int) -> Run:
    elfs = [word for name in PROGRAMS[1:] for word in ("--elf", programs / Path(name).name)]
    done = subprocess.run(
        [ROOT / "scripts/cr3scope", "run", "-o", folder, "--timeout", str(seconds),
         "--json", folder / "verdict.json", *elfs, "--", *command],
        capture_output=True, text=True, errors="replace", timeout=seconds + 30,
    )  # fmt: skip
    return Run(done.returncode, done.stdout, done.stderr, folder)


@cache
def _snapshot(settings: tuple[tuple[str, str], ...]) -> Snapshot:
    """Takes the snapshot unless it is there; one process does, the others wait for it."""
    built = build()
    root = BUILD / "snapshots"
    root.mkdir(exist_ok=True)
    with open(root / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = root / _name(built, dict(settings))
        if not (folder / "state").exists():
            _remove_old(root)
            shutil.rmtree(folder, ignore_errors=True)
            _take(built, folder, dict(settings))
        os.utime(folder)
    return Snapshot(folder, _config_offset((folder / "run/disk.img").read_bytes()))


def _name(built: Path, settings: dict[str, str]) -> str:
    """Whatever the state depends on."""
    state = hashlib.sha256(repr((MARKER, CONFIG_BYTES, settings)).encode())
    with tempfile.TemporaryDirectory() as work:
        command = _command(Path(work), Path(work, "disk"), settings)
        state.update("\n".join(command).replace(work, "").encode())
    state.update(subprocess.run([command[0], "--version"], capture_output=True, check=True).stdout)
    files = [*(built / name for name in PROGRAMS), *SCRIPTS.glob("*")]
    given = {**os.environ, **settings}
    files += [Path(given[name]) for name in ("INITRD", "FIRST_STAGE") if given.get(name)]
    for file in sorted(files):
        state.update(hashlib.sha256(file.read_bytes()).digest())
    return state.hexdigest()[:16]


def _remove_old(root: Path) -> None:
    for folder in root.iterdir():
        if folder.is_dir() and time.time() - folder.stat().st_mtime > OLD_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _take(built: Path, folder: Path, settings: dict[str, str]) -> None:
    """One boot tells where the firmware puts the loader, which it does alike every time; the second is
    stopped there."""
    run = folder / "run"
    folder.mkdir()
    padding = ";" * (CONFIG_BYTES - len(MARKER) - 1)
    environment = {**os.environ, **settings, "INJECT": "", "CONFIG": MARKER + padding}
    subprocess.run([SCRIPTS / "prepare", built, run], env=environment, check=True)
    for name in PROGRAMS:
        shutil.copyfile(built / name, folder / Path(name).name)
    pristine = folder / "pristine.img"
    shutil.copyfile(run / "disk.img", pristine)
    command = _command(run, run / "disk.img", settings)
    first = _watch(run, folder, command, BOOT_SECONDS)
    images = _traced(first).images
    assert images, f"no image record in the trace; {first.explain()}"
    shutil.copyfile(pristine, run / "disk.img")
    _command(run, run / "disk.img", settings)  # for a new variable store
    address, code = _start_of_loader(folder / "loader.elf")
    stop = Stop(images[0].base + address, code, BOOT_SECONDS)
    try:
        save_at(stop, command, folder / "unfinished")
    except NotStopped as error:
        raise AssertionError(f"no snapshot: {error}") from error
    pristine.replace(run / "disk.img")
    (folder / "unfinished").replace(folder / "state")


def _start_of_loader(program: Path) -> tuple[int, bytes]:
    """Address of efi_main relative to the image, and its first bytes."""
    with open(program, "rb") as stream:
        elf = ELFFile(stream)
        (symbol,) = elf.get_section_by_name(".symtab").get_symbol_by_name("efi_main")
        section = elf.get_section(symbol["st_shndx"])
        start = symbol["st_value"] - section["sh_addr"]
        return symbol["st_value"], section.data()[start : start + CODE_BYTES]


def _config_offset(disk: bytes) -> int:
    config = _padded(MARKER + "\n")
    assert disk.count(config) == 1, "the boot volume does not hold the configuration in one piece"
    return disk.index(config)
