"""Boots that start where the firmware has just started the loader: most of a boot's time is firmware.

The machine is saved once for each build and each set of QEMU settings, stopped at the loader's first
instruction, before it reads cr3scope.cfg. Every boot restores it, on a boot volume in which only the
bytes of that file differ: the firmware knows the volume's directory and where the file lies by then.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from boot import firmware, gdb_stub, stopped_guest
from boot.kept import kept, used
from boot.qemu_words import qemu_words
from boot.reference import BOOT_SECONDS, ROOT, Run, build
from boot.state_file import incoming
from boot.stopped_guest import Stop, save_at
from boot.verbs import run_traced
from cr3scope.errors import UnusableInput
from cr3scope.input.capture.reader import read_capture
from cr3scope.input.capture.records import Boot
from elftools.elf.elffile import ELFFile

SCRIPTS = ROOT / "scripts/boot"
CONFIG_BYTES = 4096
MARKER = "# the configuration of a boot from a snapshot"
RESTORED_SECONDS = 20  # the longest a boot from a snapshot may take; most take one
CODE_BYTES = 32
PIECE_BYTES = 1 << 16
DISK, _BASE = "disk.img", "base"
_CONFIG = b" config "  # of the record of the loader's settings
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
        return self.folder / DISK

    @property
    def base(self) -> int:
        """Where the loader lies."""
        return int((self.folder / _BASE).read_text())


def boot_from_snapshot(
    folder: Path, *, config: str = "", inject: str = "", is_traced: bool = True,
    options: Sequence[str] = (), **environment: str,
) -> Run:  # fmt: skip
    """As reference.boot, from where the loader starts. AssertionError if it traced another configuration.

    ``is_traced``: False for a configuration that the loader refuses; ``options``: further ones of `run`.
    """
    command, snapshot, lines = _configured(folder, config, inject, environment)
    run = _watch(folder, snapshot.folder, [*command, *incoming(snapshot.state)], RESTORED_SECONDS, *options)
    if is_traced and "sinks=file" not in lines:  # else nothing is traced where one could look
        _check_configuration(run, inject, lines)
    return run


def at_loader(folder: Path, *, config: str = "", inject: str = "", **environment: str) -> tuple[list[str], Snapshot]:
    """Return the command of the same boot for a QEMU that waits, and the snapshot whose state it is to load."""
    command, snapshot, _ = _configured(folder, config, inject, environment)
    return command, snapshot


def snapshot_of(environment: Mapping[str, str]) -> Snapshot:
    """Return the machine with these settings at the loader's first instruction; it is saved unless it is there."""
    return _snapshot(tuple(sorted(environment.items())))


def _configured(
    folder: Path, config: str, inject: str, environment: dict[str, str]
) -> tuple[list[str], Snapshot, list[str]]:
    """QEMU's command on a volume with the configuration, whose lines are returned, too."""
    snapshot = snapshot_of(environment)
    used(snapshot.folder)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line for line in (f"inject={inject}" if inject else "", *config.split(";")) if line]
    size, pieces = _contents(snapshot.disk)
    with open(folder / DISK, "wb") as volume:
        for at, piece in (*pieces, (snapshot.config_offset, _padded("\n".join(lines) + "\n"))):
            volume.seek(at)
            volume.write(piece)
        volume.truncate(size)
    return qemu_words(folder, environment), snapshot, lines


def _check_configuration(run: Run, inject: str, lines: Sequence[str]) -> None:
    """Bytes that the firmware had read before the snapshot would be those of another boot."""
    asked = dict(line.split("=", 1) for line in lines) | {"inject": inject}
    serial = run.serial
    behind = serial.find(b"\n", serial.rfind(_CONFIG)) + 1  # the rest of the trace, most of it, is for the tests
    read = _boot(run, serial[:behind]).config
    keys = ["inject"] if inject else list(asked)  # a fault may bring other settings with it
    wrong = [f"{key}={read[key]}" for key in keys if key in read and read[key] != asked[key]]
    assert "inject" in read, f"the loader traced no configuration; {run.explain()}"
    assert not wrong, f"the loader read {wrong}, asked for was {asked}; {run.explain()}"


def _boot(run: Run, serial: bytes) -> Boot:
    try:
        return read_capture(serial).boots[-1]
    except (UnusableInput, IndexError) as error:
        raise AssertionError(f"no boot in the trace: {error}; {run.explain()}") from error


def _padded(text: str) -> bytes:
    data = text.encode()
    assert len(data) <= CONFIG_BYTES, f"a configuration of {len(data)} bytes, at most {CONFIG_BYTES}"
    return data.ljust(CONFIG_BYTES, b"\n")


@cache
def _contents(file: Path) -> tuple[int, list[tuple[int, bytes]]]:
    """A file's size and what is in it, with the places; what is nothing but zeros, as most of a volume, is left out."""
    data = file.read_bytes()
    pieces = ((at, data[at : at + PIECE_BYTES]) for at in range(0, len(data), PIECE_BYTES))
    return len(data), [(at, piece) for at, piece in pieces if piece.count(0) < len(piece)]


def _watch(folder: Path, programs: Path, command: Sequence[str], seconds: int, *options: str) -> Run:
    return run_traced(folder, programs / "loader.elf", programs / "kernel.elf", command, seconds, *options)


@cache
def _snapshot(settings: tuple[tuple[str, str], ...]) -> Snapshot:
    """Takes the snapshot unless it is there."""
    built = build()
    begin = firmware.state(dict(settings))
    folder = kept("loader", _key(begin, built, dict(settings)), partial(_take, built, dict(settings)))
    return Snapshot(folder, _config_offset((folder / DISK).read_bytes()))


def _key(begin: Path, built: Path, settings: dict[str, str]) -> str:
    """Of whatever the state depends on."""
    key = hashlib.sha256(repr((begin.name, MARKER, CONFIG_BYTES, settings)).encode())
    files = [*(built / name for name in PROGRAMS), *filter(Path.is_file, SCRIPTS.glob("*")), Path(gdb_stub.__file__), Path(stopped_guest.__file__), Path(__file__)]
    given = {**os.environ, **settings}
    files += [Path(given[name]) for name in ("INITRD", "FIRST_STAGE") if given.get(name)]
    for file in sorted(files):
        key.update(hashlib.sha256(file.read_bytes()).digest())
    return key.hexdigest()[:16]


def _take(built: Path, settings: dict[str, str], folder: Path) -> None:
    """One boot tells where the firmware puts the loader, which it does alike every time; the second is
    stopped there."""
    padding = ";" * (CONFIG_BYTES - len(MARKER) - 1)
    environment = {**os.environ, **settings, "INJECT": "", "CONFIG": MARKER + padding}
    first, second = folder / "first", folder / "second"
    for run in (first, second):
        subprocess.run([SCRIPTS / "prepare", built, run], env=environment, check=True)
    for name in PROGRAMS:
        shutil.copyfile(built / name, folder / Path(name).name)
    shutil.copyfile(first / "disk.img", folder / DISK)
    qemu = {**settings, "QEMU": firmware.stand_in(settings)}
    done = _watch(first, folder, qemu_words(first, qemu), BOOT_SECONDS)
    images = _boot(done, done.serial).images
    assert images, f"no image record in the trace; {done.explain()}"
    (folder / _BASE).write_text(str(images[0].base))
    address, code = _start_of_loader(folder / "loader.elf")
    stop = Stop(images[0].base + address, code, BOOT_SECONDS)
    command = qemu_words(second, settings)
    save_at(stop, command, firmware.state(settings), folder / "state")


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
