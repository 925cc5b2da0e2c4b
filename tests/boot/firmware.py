"""Boots that begin where the firmware asks for the first block of the boot volume: what comes before is most
of a boot's time, and is the same whatever lies on the volume.

The machine is saved once for each QEMU, firmware and set of QEMU settings. Its disk refuses that first read,
so QEMU stops the machine with the request unanswered; restored, it reads from the volume that it then has.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from boot import channels, gdb_stub, state_file, state_ram, tpm_wait
from boot.channels import calling
from boot.gdb_stub import CALLS, Stub
from boot.kept import kept
from boot.qemu_words import qemu_words
from boot.reference import BOOT_SECONDS, ROOT, Run, build
from boot.state_file import SAVING, StateError, save, script
from boot.verbs import run_traced
from cr3scope.qemu.qmp import Qmp

FIRST_READ_SECONDS = 180.0  # the longest that the firmware may take
_SCRIPTS = ROOT / "scripts/boot"
_DISK, _DEVICE = "if=none,id=boot,format=raw,file=", "virtio-blk-pci,drive=boot,"
_REFUSING = "if=none,id=boot,driver=blkdebug,inject-error.0.event=none,inject-error.0.iotype=read,image.driver=file,image.filename="
_STATE, _PROGRAM, _VOLUME = "state", "qemu", "disk.img"


def stand_in(settings: Mapping[str, str], words: Sequence[str] = ()) -> str:
    """Return a program that takes QEMU's place (QEMU=...) in boots with these settings.

    ``settings``: the variables of scripts/boot/qemu-command; ``words``: those that follow its own and give the machine
    a device.
    """
    return str(_folder(settings, words) / _PROGRAM)


def boot_from_first_read(folder: Path, *, config: str = "", inject: str = "", **settings: str) -> Run:
    """Boot the reference loader, with the firmware at its first read."""
    built = build()
    subprocess.run([_SCRIPTS / "prepare", built, folder], env={**os.environ, **settings, "INJECT": inject, "CONFIG": config}, check=True)
    command = qemu_words(folder, {**settings, "QEMU": stand_in(settings)})
    return run_traced(folder, built / "loader/loader.elf", built / "kernel/kernel.elf", command, BOOT_SECONDS)


def state(settings: Mapping[str, str]) -> Path:
    """Return the state of a machine with these settings, for a QEMU that is to wait."""
    return _folder(settings) / _STATE


def _folder(settings: Mapping[str, str], words: Sequence[str] = ()) -> Path:
    with tempfile.TemporaryDirectory() as work:
        command = [*qemu_words(Path(work), settings), *words]
        key = _key(command, Path(work))

    def make(folder: Path) -> None:
        command = [*qemu_words(folder, settings), *words]
        _make_volume(folder / _VOLUME)
        _save_at_first_read(command, folder / _STATE)
        program = folder / _PROGRAM
        program.write_text(script(command[0], _STATE))
        program.chmod(0o755)

    return kept("firmware", key, make)


def _key(command: Sequence[str], folder: Path) -> str:
    """Of whatever the state depends on."""
    key = hashlib.sha256("\n".join(command).replace(str(folder), "").encode())
    key.update(_version(command[0]))
    for word in command:
        if word.startswith("if=pflash"):
            _, _, file = word.partition("file=")
            key.update(_digest(Path(file)) if not file.startswith(str(folder)) else Path(file).read_bytes())
    for made_by in (__file__, state_file.__file__, state_ram.__file__, channels.__file__, gdb_stub.__file__, tpm_wait.__file__, _SCRIPTS / "image"):
        key.update(_digest(Path(made_by)))
    return key.hexdigest()[:16]


@cache
def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()


@cache
def _version(qemu: str) -> bytes:
    return subprocess.run([qemu, "--version"], capture_output=True, check=True).stdout


def _make_volume(volume: Path) -> None:
    """Of what is on it nothing is read; only its size matters."""
    program = volume.with_name("program.efi")
    program.touch()
    environment = {**os.environ, "INITRD": "", "FIRST_STAGE": ""}
    subprocess.run([_SCRIPTS / "image", volume, program, ""], env=environment, check=True)


def _save_at_first_read(command: Sequence[str], file: Path) -> None:
    words = [_refusing(word) for word in command]
    if "-serial" not in command:
        words += ["-serial", "null"]
    with calling([*words, *SAVING], CALLS, ("-qmp", "unix:{}")) as (to_stub, to_monitor):
        qmp = Qmp(to_monitor)
        tpm_wait.run_to_stop(Stub(to_stub), FIRST_READ_SECONDS)
        status = qmp.execute("query-status")["status"]
        if status != "io-error":
            raise StateError(f"the firmware did not read from the boot volume: the machine is {status}")
        save(qmp, file)


def _refusing(word: str) -> str:
    """A word of QEMU's command line; of the disk, one that refuses to be read and stops the machine."""
    if word.startswith(_DISK):
        return _REFUSING + word.removeprefix(_DISK)
    return f"{word},rerror=stop" if word.startswith(_DEVICE) else word
