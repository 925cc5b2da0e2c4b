"""A second boot begins with the disks of the first one, and writes nothing that is the user's."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cr3scope.qemu import plugin_build
from cr3scope.qemu.command import read_command
from cr3scope.qemu.plugin import Plugin
from cr3scope.qemu.plugin_build import NoPlugin, api_of, plugin_for
from cr3scope.qemu.repeat import before_first_boot

QEMU = "qemu-system-x86_64"
TREE = """\
  0000000000000000-000000000009ffff (prio 0, ram): pc.ram
  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom
  0000000000100000-000000007fffffff (prio 0, ram): pc.ram @0000000000100000
  0000000100000000-00000001bfffffff (prio 0, ram): pc.ram @0000000080000000
"""
BLOCKS = "                  pc.ram    4 KiB  0x0000000000000000 0x0000000140000000 0x0000000140000000\n"


def image(folder: Path, name: str, data: bytes = b"before") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_disks_are_copies_of_what_they_were_and_the_rest_is_a_snapshot(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    disk, other, code = image(tmp_path, "a,b.img"), image(tmp_path, "hda.img"), image(tmp_path, "code.fd")
    words = [QEMU, "-drive", f"if=none,id=d,file={str(disk).replace(',', ',,')},snapshot=off", "-hda", str(other),
             "-drive", f"if=pflash,readonly=on,file={code}", "-debugcon", f"file:{tmp_path}/debug.log",
             "-chardev", f"file,id=log,path={tmp_path}/char.log", "-serial", f"file:{tmp_path}/serial", "-D", "mine.log"]  # fmt: skip
    before = before_first_boot(read_command(words), work)
    disk.write_bytes(b"after the first boot")
    again = before.again()
    line = " ".join(again.words)
    assert str(tmp_path / "a") not in line and str(other) not in line and "debug.log" not in line and "char.log" not in line
    assert "snapshot=on" in line and "snapshot=off" not in line and again.words[-1] == "-snapshot" and str(code) in line
    assert sorted(file.read_bytes() for file in work.iterdir()) == [b"before", b"before"]
    assert (again.log_file, again.serial_copy) == (None, None) and [*before.changed()] == []
    assert before.hazard(()) == ""


def test_of_an_image_too_large_to_keep_it_is_said_that_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.limits.KEPT_IMAGE_BYTES", 3)
    disk = image(tmp_path, "disk.img")
    before = before_first_boot(read_command([QEMU, "-hda", str(disk)]), tmp_path)
    assert [*before.changed()] == []
    disk.write_bytes(b"after the first boot")
    assert [*before.changed()] == [str(disk)] and str(disk) in before.again().words


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-blockdev", "driver=file,node-name=n,filename=/none/x.img"], "-blockdev"),
        (["-blockdev", '{"driver": "file", "filename": "x"}'], "-blockdev"),
        (["-blockdev", "driver=file,node-name=n,filename=/none/x.img,read-only=on"], ""),
        (["-virtfs", "local,path=/tmp,mount_tag=t,security_model=none"], "-virtfs"),
        (["-virtfs", "local,path=/tmp,mount_tag=t,security_model=none,readonly=on"], ""),
        (["-device", "vfio-pci,host=01:00.0"], "vfio-pci"),
        (["-object", "memory-backend-file,id=m,mem-path=/dev/shm/x,share=on"], "-object"),
        (["-s"], "debugger"),
        (["-snapshot", "-nic", "user"], ""),
        (["-plugin", "mine.so"], ""),
    ],
)
def test_what_a_second_boot_could_change_stands_in_its_way(words: list[str], why: str, tmp_path: Path) -> None:
    """Also where only QEMU itself was told so, by a script."""
    own = before_first_boot(read_command([QEMU, *words]), tmp_path).hazard(())
    by_script = before_first_boot(read_command(["./run.sh"]), tmp_path).hazard([QEMU, *words])
    assert own == by_script and (why in own if why else not own)


def test_without_a_compiler_or_a_qemu_that_takes_plugins_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    refuses = tmp_path / "qemu"
    refuses.write_text("#!/bin/sh\necho 'qemu: -plugin: invalid option' >&2\nexit 1\n")
    refuses.chmod(0o755)
    with pytest.raises(NoPlugin, match="takes no plugin: qemu: -plugin: invalid option"):
        plugin_for([str(refuses)])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "none")
    for file in (tmp_path / "cr3scope").iterdir():
        file.unlink()
    with pytest.raises(NoPlugin, match="no C compiler"):
        plugin_for([str(refuses)])


def test_a_cache_that_others_may_write_to_is_closed_and_one_of_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "cr3scope"
    folder.mkdir(mode=0o777)
    says = tmp_path / "qemu"
    says.write_text("#!/bin/sh\necho 'but this QEMU supports only up to version 9' >&2\n")
    says.chmod(0o755)
    assert api_of([str(says)]) == plugin_build.NEWEST_API
    assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(NoPlugin, match="is not ours"):
        api_of([str(says)])


@pytest.mark.parametrize(("version", "counts", "low"), [((7, 2), 1, 0x140000000), ((10, 0), 0, 0x80000000)])
def test_the_plugin_is_told_where_the_guest_has_ram(version: tuple[int, int], counts: int, low: int, tmp_path: Path) -> None:
    file = tmp_path / "writers"
    file.write_bytes(bytes(4096))
    told = {"info mtree -f": TREE, "info ramblock": BLOCKS}
    Plugin(tmp_path / "x,y.so", file).tell(told.__getitem__, version)
    data = file.read_bytes()
    numbers = [int.from_bytes(data[at : at + 8], "little") for at in (32, 40, 48)]
    assert int.from_bytes(data[20:24], "little") == counts
    assert numbers == [low, 0x1C0000000, 0x80000000]
    values = int.from_bytes(data[24:32], "little") * 8320
    assert 0 < values <= 0x140000000
    assert Plugin(tmp_path / "x,y.so", file).words() == ["-plugin", f"file={tmp_path}/x,,y.so,out={file}"]


def test_qemu_tells_the_version_of_its_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built = plugin_for([QEMU, "-machine", "none"])
    assert built.is_file() and subprocess.run([QEMU, "-machine", "none", "-plugin", f"{built}"], capture_output=True, check=False).returncode
