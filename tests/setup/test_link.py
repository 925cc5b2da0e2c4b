"""The link of a UEFI program: gnu-efi in any layout, every loaded byte in the PE, or one line before any boot."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from boot.reference import BUILD, ROOT, make
from elftools.elf.elffile import ELFFile

from cr3scope.images.pe_header import read_header

NX_COMPAT, DLL_CHARACTERISTICS = 0x100, 24 + 70
FINDER = ROOT / "scripts/boot/gnu-efi"
START, LIBRARY = "crt0-efi-x86_64.o", "libgnuefi.a"


def make_pe(objcopy: str, elf: Path, efi: Path) -> subprocess.CompletedProcess[str]:
    command = ["scripts/boot/python", "scripts/boot/make_pe.py", *objcopy.split(), "--", elf, efi]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a tool says when it ends with status 2."""
    assert done.returncode == 2 and not done.stdout, done
    [line] = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("program", ["loader/loader", "first_stage/la57", "foreign/nx_pml4"])
def test_an_image_has_every_section_on_pages_of_its_own_and_none_is_writable_and_executable(program: str) -> None:
    elf, data = make(f"{program}.elf"), make(f"{program}.efi").read_bytes()
    header = read_header(data)
    assert header is not None
    assert [s.name for s in header.sections if s.executable] == [".text"]
    assert not any(s.executable and s.writable or s.offset % 4096 for s in header.sections)
    (at,) = struct.unpack_from("<I", data, 0x3C)
    assert struct.unpack_from("<H", data, at + DLL_CHARACTERISTICS)[0] & NX_COMPAT
    with elf.open("rb") as file:
        for segment in ELFFile(file).iter_segments("PT_LOAD"):
            first = segment["p_vaddr"]
            [section, *_] = [s for s in header.sections if s.offset <= first < s.offset + s.size]
            size = min(section.size, segment["p_filesz"])
            assert data[section.in_file : section.in_file + size] == segment.data()[:size]
            assert section.executable == bool(segment["p_flags"] & 1)


@pytest.mark.slow
@pytest.mark.parametrize("section", [".rodata", ".rela", ".data", ".dynamic", ".text"])
def test_a_section_that_is_left_out_is_named_before_any_boot(section: str, tmp_path: Path) -> None:
    done = make_pe(f"objcopy -R {section}", make("loader/loader.elf"), tmp_path / "loader.efi")
    line = refused(done)
    assert line.startswith("make_pe: loader.efi: ") and section in line, line
    assert "is not in the PE image" in line and not list(tmp_path.iterdir()), line


def test_bytes_that_objcopy_changes_are_noticed(tmp_path: Path) -> None:
    elf, efi = tmp_path / "a.elf", tmp_path / "a.efi"
    shutil.copy(make("loader/loader.elf"), elf)
    changes = tmp_path / "objcopy"
    changes.write_text(  # converts, then changes the last byte of the file's .data
        '#!/bin/sh\nobjcopy "$@" && for out; do :; done && size=$(stat -c %s "$out") &&'
        " printf '\\377' | dd of=\"$out\" bs=1 seek=1100 conv=notrunc status=none\n"
    )
    changes.chmod(0o755)
    line = refused(make_pe(str(changes), elf, efi))
    assert ".text" in line and "other bytes" in line and not efi.exists(), line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objcopy", "said"),
    [("no-such-objcopy", "No such file"), ("false", "failed"), ("true", "it wrote no image"), ("", "names no program")],
)
def test_an_objcopy_that_does_not_work_is_one_line(objcopy: str, said: str, tmp_path: Path) -> None:
    assert said in refused(make_pe(objcopy, make("loader/loader.elf"), tmp_path / "a.efi"))


def test_what_is_no_elf_file_is_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.elf"
    bad.write_bytes(b"no ELF file")
    assert refused(make_pe("objcopy", bad, tmp_path / "a.efi")).startswith("make_pe: ")


def test_a_section_with_a_long_name_is_named_in_full(tmp_path: Path) -> None:
    elf = tmp_path / "a.elf"
    extra = tmp_path / "extra"
    extra.write_bytes(b"extra")
    subprocess.run(["objcopy", "--add-section", f".mine.of.many.letters={extra}",
                    "--set-section-flags", ".mine.of.many.letters=alloc,readonly,data,contents",
                    "--change-section-address", ".mine.of.many.letters=0x80010",
                    make("loader/loader.elf"), elf], check=True)  # fmt: skip
    line = refused(make_pe("objcopy", elf, tmp_path / "a.efi"))
    assert "section .mine.of.many.letters at 0x80010 does not begin a page" in line, line


@pytest.mark.parametrize(("place", "said"), [("/dev/full", "No space left"), ("/nowhere/a.efi", "no such folder")])
def test_an_image_that_cannot_be_written_is_one_line(place: str, said: str) -> None:
    assert said in refused(make_pe("objcopy", make("loader/loader.elf"), Path(place)))


def find(**settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run([FINDER], env=environment, capture_output=True, text=True)


def layout(folder: Path, start: str, files: tuple[str, ...]) -> Path:
    """Make a folder of gnu-efi's files under the names of some distribution."""
    known = find().stdout.split()
    folder.mkdir(parents=True)
    for name in files:
        shutil.copy(known[1] if name == start else known[2], folder / name)
    return folder


@pytest.mark.parametrize("start", [START, "crt0.o"])
def test_gnu_efi_is_found_in_a_folder_of_either_naming(start: str, tmp_path: Path) -> None:
    folder = layout(tmp_path / "lib", start, (start, LIBRARY))
    assert find(GNU_EFI_LIB=str(folder)).stdout.split()[1:] == [f"{folder}/{start}", f"{folder}/{LIBRARY}"]


def test_gnu_efi_is_where_pkg_config_says(tmp_path: Path) -> None:
    folder = layout(tmp_path / "lib", START, (START, LIBRARY))
    told = tmp_path / "pkg-config"
    told.write_text(f'#!/bin/sh\n[ "$1" = --variable=libdir ] && echo {folder} || echo /usr/include\n')
    told.chmod(0o755)
    assert find(PKG_CONFIG=str(told)).stdout.split()[1] == f"{folder}/{START}"


@pytest.mark.parametrize("missing", [START, LIBRARY])
def test_a_missing_part_of_gnu_efi_is_one_line(missing: str, tmp_path: Path) -> None:
    folder = layout(tmp_path / "lib", START, tuple({START, LIBRARY} - {missing}))
    line = refused(find(GNU_EFI_LIB=str(folder)))
    assert str(folder) in line and LIBRARY in line and "install gnu-efi" in line, line


def test_an_empty_start_up_code_is_no_gnu_efi(tmp_path: Path) -> None:
    folder = layout(tmp_path / "lib", START, (START, LIBRARY))
    (folder / START).write_bytes(b"")
    assert str(folder) in refused(find(GNU_EFI_LIB=str(folder)))


@pytest.mark.parametrize("setting", ["GNU_EFI_LIB", "GNU_EFI_INCLUDE"])
def test_a_folder_with_blanks_is_refused_as_such(setting: str) -> None:
    assert "without blanks" in refused(find(**{setting: "/a folder"}))


def test_missing_headers_are_one_line(tmp_path: Path) -> None:
    line = refused(find(GNU_EFI_INCLUDE=str(tmp_path)))
    assert str(tmp_path) in line and "efi.h" in line, line


def build(*settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "build", *settings], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("folder", ["/nowhere", "it's"])
def test_make_says_in_one_line_that_gnu_efi_is_missing(folder: str, tmp_path: Path) -> None:
    done = build(f"BUILD={tmp_path}/build", f"GNU_EFI_LIB={folder}")
    assert done.returncode == 2, done
    [line] = done.stderr.splitlines()
    assert folder in line and START in line, line


@pytest.mark.parametrize("folder", [BUILD, os.path.relpath(BUILD, ROOT)])
def test_a_header_that_changes_is_seen_however_the_build_folder_is_told(folder: Path | str) -> None:
    make("loader/loader.efi")
    done = subprocess.run(
        ["make", "-n", "-W", "loader/boot.h", f"BUILD={folder}", f"{folder}/loader/loader/boot.c.o"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "-c loader/boot.c" in done.stdout, done.stdout


def test_a_build_folder_with_blanks_is_one_line() -> None:
    done = build("BUILD=/tmp/a folder")
    assert done.returncode == 2 and "without blanks" in done.stderr and len(done.stderr.splitlines()) == 1, done


STAMPS = ("toolchain", "linker")  # what compiles, what links
# Of what `make build` prints: what names the files, what runs the step that makes the PE, what is said of each step, where
# the headers of an object are noted, and which objects a program does without.
NOT_OF_THE_IMAGE = {"BUILD", "PYTHON", "say", "NOTE_HEADERS", "SWITCH_SOURCES"}
VARIABLES = sorted(set(re.findall(r"^(\w+) [?:]?=", (ROOT / "Makefile").read_text(), re.MULTILINE)) - NOT_OF_THE_IMAGE)


def asked(*words: str | Path) -> list[str] | None:
    """Return the commands that `make build` would run; None if it refuses."""
    done = subprocess.run(["make", "-n", "build", *words], cwd=ROOT, capture_output=True, text=True)
    own = (line for line in done.stdout.splitlines() if "cmp -s" not in line and not line.startswith("printf"))
    return list(own) if done.returncode == 0 else None


def stamped(folder: Path, *settings: str) -> list[str]:
    stamps = [folder / name for name in STAMPS]
    subprocess.run(["make", "-s", *stamps, f"BUILD={folder}", *settings], cwd=ROOT, check=True)
    return [stamp.read_text() for stamp in stamps]


@pytest.fixture(scope="module")
def as_it_is(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str] | None, list[str]]:
    """A folder where nothing was built but the stamps, what would be built there, and the stamps."""
    folder = tmp_path_factory.mktemp("stamps")
    return folder, asked(f"BUILD={folder}"), stamped(folder)


@pytest.mark.slow
@pytest.mark.parametrize("setting", [*(f"{name}=-DSEEN" for name in VARIABLES), "TOOLCHAIN=clang"])
def test_what_changes_a_command_changes_the_stamp_of_the_command(
    setting: str, as_it_is: tuple[Path, list[str] | None, list[str]]
) -> None:
    folder, commands, stamps = as_it_is
    assert commands
    others = asked(f"BUILD={folder}", setting)
    if others is None:
        return  # make builds nothing at all
    changed = [line for line in others if line not in commands]
    if not changed:
        return
    other_stamps = stamped(folder, setting)
    compiles, links = (any((" -c " in line) is wanted for line in changed) for wanted in (True, False))
    assert (stamps[0] != other_stamps[0]) or not compiles, changed[0]
    assert (stamps[1] != other_stamps[1]) or not links, changed[-1]


def test_a_changed_stamp_and_nothing_else_makes_the_build_anew() -> None:
    for target in ("loader/loader.efi", "kernel/kernel.elf"):
        make(target)
    compiler, linker = (BUILD / name for name in STAMPS)
    counted = {}
    for case, words in {
        "neither": ("-o", compiler, "-o", linker), "linker": ("-o", compiler, "-W", linker), "compiler": ("-W", compiler, "-o", linker),
    }.items():
        commands = asked(f"BUILD={BUILD}", *words)
        assert commands is not None
        counted[case] = [sum(sign in line for line in commands) for sign in (" -c ", "-T loader/uefi.ld", "-T kernel/kernel.ld", "make_pe.py")]
    sources = counted["compiler"][0]
    assert sources > 50
    assert counted == {"neither": [0, 0, 0, 0], "linker": [0, 1, 1, 1], "compiler": [sources, 1, 1, 1]}


def test_a_setting_that_stays_leaves_the_stamps_as_they_are(tmp_path: Path) -> None:
    stamped(tmp_path)
    before = [(tmp_path / name).stat().st_mtime_ns for name in STAMPS]
    stamped(tmp_path)
    assert [(tmp_path / name).stat().st_mtime_ns for name in STAMPS] == before


def built_again(folder: Path) -> Path:
    """Return a copy of the build, of which make finds everything up to date."""
    for target in ("loader/loader.efi", "kernel/kernel.elf"):
        make(target)
    shutil.copytree(BUILD, folder, ignore=shutil.ignore_patterns("snapshots", "releases", "runs", "host", "lock"))
    return folder


def test_a_word_to_relocate_that_does_not_hold_its_addend_is_named(tmp_path: Path) -> None:
    done = build("-s", f"BUILD={built_again(tmp_path / 'build')}", "TARGET_LD=ld.lld", "LLD_FLAGS=")
    line, *_ = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith("make_pe: loader.elf: the word in .data at 0x"), done


def test_a_lost_twin_is_made_again(tmp_path: Path) -> None:
    folder = built_again(tmp_path / "build")
    (folder / "loader/loader.elf").unlink()
    assert build(f"BUILD={folder}").returncode == 0 and (folder / "loader/loader.elf").exists()


def test_the_verbs_that_build_nothing_need_no_gnu_efi() -> None:
    environment = {**os.environ, "GNU_EFI_LIB": "/nowhere"}
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done


def test_two_builds_of_one_source_are_the_same_bytes(tmp_path: Path) -> None:
    again = tmp_path / "loader.efi"
    assert make_pe("objcopy", make("loader/loader.elf"), again).returncode == 0
    assert again.read_bytes() == (BUILD / "loader/loader.efi").read_bytes()
