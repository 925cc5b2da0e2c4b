"""A second boot begins with the disks of the first one, and writes nothing that is the user's."""

from __future__ import annotations

import os
import subprocess
import tempfile
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


@pytest.mark.parametrize(
    ("words", "mended"),
    [
        (["-drive", "media=disk,id=disk0,file=disk,format=raw"], "media=disk,id=disk0,file={copy},format=raw"),
        (["-drive", "file=./disk,format=raw"], "file={copy},format=raw"),
        (["-drive", "file=file:disk,snapshot=no"], "file={copy},snapshot=on"),
        (["-drive", "if=none,file.driver=file,file.filename=sub/../disk"], "if=none,file.driver=file,file.filename={copy}"),
        (["-blockdev", "driver=raw,node-name=disk,file.driver=file,file.filename=.//disk"], "driver=raw,node-name=disk,file.driver=file,file.filename={copy}"),
        (["-pflash", "./disk"], "{copy}"),
    ],
    ids=lambda words: words[1] if isinstance(words, list) else "",
)
def test_an_image_is_replaced_by_its_copy_however_its_name_is_written(words: list[str], mended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image(tmp_path, "disk")
    (tmp_path / "sub").mkdir()
    (tmp_path / "work").mkdir()
    before = before_first_boot(read_command([QEMU, *words]), Path("work"))
    copy = next((tmp_path / "work").iterdir())
    assert before.again().words[1:3] == (words[0], mended.format(copy=copy)) and before.hazard(()) == ""


@pytest.mark.parametrize("option", ["-hda", "-drive"])
def test_a_folder_as_a_disk_is_a_copy_too_and_no_more_written(option: str, tmp_path: Path) -> None:
    """QEMU refuses a writable one under -snapshot."""
    folder, work = tmp_path / "esp", tmp_path / "work"
    (folder / "EFI").mkdir(parents=True)
    (folder / "EFI/BOOTX64.EFI").symlink_to(os.path.relpath(image(tmp_path, "loader.efi"), folder / "EFI"))
    (folder / "gone").symlink_to("nowhere")
    work.mkdir()
    begin, end = ("file=", ",format=raw") if option == "-drive" else ("", "")
    before = before_first_boot(read_command([QEMU, option, f"{begin}fat:rw:{folder}{end}"]), work)
    (folder / "NvVars").write_bytes(b"the firmware's")
    kept = next(work.iterdir())
    assert before.again().words[2] == f"{begin}fat:{kept}{end}" and before.hazard(()) == ""
    assert (kept / "EFI/BOOTX64.EFI").read_bytes() == b"before" and not (kept / "NvVars").exists()


def test_of_a_folder_with_a_link_to_a_folder_there_is_no_copy(tmp_path: Path) -> None:
    (tmp_path / "esp").mkdir()
    (tmp_path / "esp/all").symlink_to("/")
    before = before_first_boot(read_command([QEMU, "-hda", f"fat:rw:{tmp_path}/esp"]), tmp_path / "work")
    assert before.images[0].copy is None and before.again().words[2] == f"fat:{tmp_path}/esp"


def test_of_a_folder_too_large_to_keep_it_is_said_that_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.limits.KEPT_FOLDER_FILES", 1)
    (tmp_path / "esp").mkdir()
    for file in (image(tmp_path / "esp", "a"), image(tmp_path / "esp", "b"), tmp_path / "esp"):
        os.utime(file, (1, 1))
    before = before_first_boot(read_command([QEMU, "-hda", f"fat:rw:{tmp_path}/esp"]), tmp_path)
    image(tmp_path / "esp", "c")
    assert [*before.changed()] == [f"{tmp_path}/esp"] and before.again().words[2] == f"fat:{tmp_path}/esp"


FILES = ("chardev", "tee", "log", "packets", "trace", "debug")
KEEPS = ["-chardev", "file,id=c,path=chardev", "-serial", "chardev:c", "-chardev", "null,id=t,logfile=tee", "-d", "int", "-D", "log",
         "-netdev", "user,id=n", "-object", "filter-dump,id=f,netdev=n,file=packets", "-trace", "file=trace",
         "-debugcon", "file:debug", "-machine", "none"]  # fmt: skip


def test_what_the_first_boot_has_left_in_files_is_still_there_when_qemu_was_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        (tmp_path / name).write_text("of the first boot")
    again = before_first_boot(read_command([QEMU, *KEEPS]), tmp_path).again()
    api_of(again.words)
    assert {(tmp_path / name).read_text() for name in FILES} == {"of the first boot"}


def test_of_a_large_image_no_word_of_the_command_keeps_the_snapshot_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cr3scope.limits.KEPT_IMAGE_BYTES", 3)
    disk = image(tmp_path, "disk.img")
    again = before_first_boot(read_command([QEMU, "-drive", f"file={disk},snapshot=false"]), tmp_path).again()
    assert again.words[2] == f"file={disk},snapshot=on"


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
        (["-blockdev", "driver=qcow2,node-name=n,file.driver=file,file.filename=/none/x.qcow2"], "-blockdev"),
        (["-blockdev", "driver=nbd,node-name=n,server.type=inet,server.host=localhost,server.port=10809"], "-blockdev"),
        (["-blockdev", "driver=vvfat,node-name=n,dir=/tmp,rw=on"], "-blockdev"),
        (["-blockdev", "driver=raw,node-name=n,file=other"], ""),
        (["-blockdev", "driver=null-co,node-name=n"], ""),
        (["-device", '{"driver": "vfio-pci", "host": "01:00.0"}'], "-device"),
        (["-object", '{"qom-type": "memory-backend-file", "id": "m", "share": true}'], "-object"),
        (["-object", "memory-backend-file,id=m,mem-path=/dev/shm/x,share=yes"], "-object"),
        (["-netdev", "user,id=n,smb=/tmp"], "a folder of the host"),
        (["-icount", "shift=auto,rr=record,rrfile=replay.bin"], "recorded over"),
        (["-icount", "shift=0"], ""),
        (["-serial", "tcp::4444,server=on"], "until somebody connects"),
        (["-chardev", "socket,id=c,path=/tmp/x,server,nowait"], ""),
        (["-monitor", "unix:/tmp/x,server=on,wait=off"], ""),
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
    with pytest.raises(NoPlugin, match="does not tell it: qemu: -plugin: invalid option"):
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


def test_a_program_that_somebody_else_has_put_into_the_cache_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder was open to others for a while."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    command = [QEMU, "-machine", "none"]
    api_of(command)
    program = next((tmp_path / "cr3scope").glob("asking-*.so"))
    built = program.stat().st_ino
    program.chmod(0o777)
    api_of(command)
    assert program.stat().st_ino != built and program.stat().st_mode & 0o077 == 0
    built = program.stat().st_ino
    api_of(command)
    assert program.stat().st_ino == built


def test_what_stands_in_the_way_of_the_cache_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    command = [QEMU, "-machine", "none"]
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(NoPlugin, match="no home folder to keep it in: set XDG_CACHE_HOME"):
        api_of(command)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    with pytest.raises(NoPlugin, match=f"not built: {tmp_path}/full.*: No such file"):
        api_of(command)


def test_a_compiler_that_hangs_or_refuses_is_named_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("cr3scope.limits.PLUGIN_BUILD_SECONDS", 0.2)
    compiler = tmp_path / "compiler"
    monkeypatch.setenv("CC", f"{compiler} -m64")
    for text, why in (("exec tail -f /dev/null", "compiler was not done after 0.2 s"), ("echo 'x.c:1: error: no' >&2; exit 1", "x.c:1: error: no")):
        compiler.write_text(f"#!/bin/sh\n{text}\n")
        compiler.chmod(0o755)
        with pytest.raises(NoPlugin, match=f"^the plugin was not built: (/.*/)?{why}$"):
            api_of([QEMU])
    compiler.write_bytes(b"")
    with pytest.raises(NoPlugin, match="compiler: cannot be started"):
        api_of([QEMU])


@pytest.mark.parametrize(("version", "counts", "low"), [((7, 2), 1, 0x140000000), ((10, 0), 0, 0x80000000)])
def test_the_plugin_is_told_where_the_guest_has_ram(version: tuple[int, int], counts: int, low: int, tmp_path: Path) -> None:
    file = tmp_path / "writers"
    file.write_bytes(bytes(4096))
    told = {"info mtree -f": TREE, "info ramblock": BLOCKS}
    Plugin(tmp_path / "x,y.so", file).tell(told.__getitem__, version)
    data = file.read_bytes()
    numbers = [int.from_bytes(data[at : at + 8], "little") for at in (40, 48, 56)]
    assert int.from_bytes(data[20:24], "little") == counts
    assert numbers == [low, 0x1C0000000, 0x80000000]
    values = int.from_bytes(data[24:32], "little") * 8320
    assert 0 < values <= 0x140000000
    assert Plugin(tmp_path / "x,y.so", file).words() == ["-plugin", f"file={tmp_path}/x,,y.so,out={file}"]


@pytest.mark.slow
def test_qemu_tells_the_version_of_its_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built = plugin_for([QEMU, "-machine", "none"])
    assert built.is_file() and subprocess.run([QEMU, "-machine", "none", "-plugin", f"{built}"], capture_output=True, check=False).returncode
