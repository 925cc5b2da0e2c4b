"""From a return address to the source line of its call, by the ELF twin."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cr3scope.errors import UnusableInput
from cr3scope.images.demangle import demangled
from cr3scope.images.elf_file import ElfFile
from cr3scope.images.elf_twin import ElfTwin
from cr3scope.images.symbols import Symbols
from cr3scope.input.capture.records import ImageRecord

BASE = 0x7E12_3000
SOURCE = """\
extern int table_make(int level);

int map_range(int level) {
    int made = table_make(level);
    return made + 1;
}
"""
CALL_LINE = 4


@pytest.fixture(scope="module", params=["gcc -gdwarf-5", "gcc -gdwarf-4", "clang -gdwarf-5"])
def twin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared object built from ``loader/map.c``, with the call on a known line."""
    folder = tmp_path_factory.mktemp("twin")
    (folder / "loader").mkdir()
    (folder / "loader/map.c").write_text(SOURCE)
    command = [*request.param.split(), "-O1", "-fPIC", "-shared", "-nostdlib"]
    command += ["-fno-optimize-sibling-calls", "-Wl,--build-id", "-o", "loader.so", "loader/map.c"]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return folder / "loader.so"


def return_address(twin: Path) -> int:
    """The address behind the only call of ``map_range``."""
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", "--disassemble=map_range", str(twin)],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()
    call = next(i for i, line in enumerate(listing) if "call" in line)
    return int(listing[call + 1].split(":")[0], 16)


def image(**changes: object) -> ImageRecord:
    fields: dict[str, object] = {
        "line": 1, "name": "loader", "base": BASE, "size": 0x100000, "build_id": None,
        "text": 0, "text_size": 0x100000, "file": None,
    }  # fmt: skip
    return ImageRecord(**(fields | changes))  # type: ignore[arg-type]


def test_the_line_is_that_of_the_call_and_not_of_what_follows(twin: Path) -> None:
    symbols = Symbols([image()], [ElfFile(twin)])
    assert symbols.line_of_call(BASE + return_address(twin)) == f"loader/map.c:{CALL_LINE}"


@pytest.mark.parametrize("address", [-1, 1 << 64, 1 << 80])
def test_what_is_no_address_has_no_line_and_no_symbol(twin: Path, address: int) -> None:
    """A call that returns to 0, a segment that reaches beyond the address space."""
    found = ElfTwin(twin)
    assert (found.line(address), found.symbol(address)) == (None, None)


def test_a_build_id_that_differs_is_not_overruled_by_the_name(twin: Path) -> None:
    symbols = Symbols([image(build_id="00" * 20)], [ElfFile(twin)])
    assert symbols.line_of_call(BASE + return_address(twin)) is None


def test_a_build_id_that_agrees_counts_more_than_the_name(twin: Path) -> None:
    build_id = ElfTwin(twin).build_id
    assert build_id is not None and len(build_id) == 40
    symbols = Symbols([image(name="BOOTX64", build_id=build_id)], [ElfFile(twin)])
    assert symbols.line_of_call(BASE + return_address(twin)) == f"loader/map.c:{CALL_LINE}"


def test_an_address_outside_every_image_has_no_line(twin: Path) -> None:
    symbols = Symbols([image(size=0x1000)], [ElfFile(twin)])
    assert symbols.line_of_call(BASE + 0x200000) is None
    assert symbols.line_of_call(0) is None


def test_an_address_that_no_unit_covers_has_no_line(twin: Path) -> None:
    assert Symbols([image()], [ElfFile(twin)]).line_of_call(BASE + 0xF0000) is None


def test_an_executable_without_debug_information_has_no_lines(twin: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "loader.so"
    command = ["objcopy", "--strip-debug", str(twin), str(stripped)]
    subprocess.run(command, check=True, timeout=60)
    assert Symbols([image()], [ElfFile(stripped)]).line_of_call(BASE + return_address(twin)) is None


def test_what_is_no_elf_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "loader.so"
    path.write_bytes(b"MZ" + bytes(100))
    with pytest.raises(UnusableInput, match="loader.so: not an ELF file"):
        Symbols([image()], [ElfFile(path)]).line_of_call(BASE + 1)


def test_a_file_that_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match=r"absent.so: No such file"):
        Symbols([image()], [ElfFile(tmp_path / "absent.so")]).line_of_call(BASE + 1)


def test_a_truncated_elf_file_never_ends_in_a_traceback(twin: Path, tmp_path: Path) -> None:
    whole, address = twin.read_bytes(), BASE + return_address(twin)
    path = tmp_path / "loader.so"
    for length in range(0, len(whole), 509):
        path.write_bytes(whole[:length])
        try:
            assert Symbols([image()], [ElfFile(path)]).line_of_call(address) in (
                None,
                f"loader/map.c:{CALL_LINE}",
            )
        except UnusableInput as error:
            assert str(error).count("loader.so") == 1


@pytest.mark.slow
@pytest.mark.parametrize("length", [*range(0, 4000, 37), 10**9])
def test_the_code_of_a_truncated_elf_file_is_whole_or_refused(
    twin: Path, tmp_path: Path, length: int
) -> None:
    whole = dict(ElfTwin(twin).code())
    path = tmp_path / "loader.so"
    path.write_bytes(twin.read_bytes()[:length])
    try:
        assert dict(ElfTwin(path).code()) == whole
    except UnusableInput as error:
        assert str(error).count("loader.so") == 1 and length < len(twin.read_bytes())


def test_names_of_cpp_and_rust_are_told_as_they_were_written() -> None:
    assert demangled("_ZN5Pager3mapEm") == "Pager::map(unsigned long)"
    assert demangled("_ZN6kernel4main17h0123456789abcdefE").startswith("kernel::main")
    assert demangled("main") == "main"
    assert demangled("_Zsomething") == "_Zsomething"
    assert demangled("_ZN5Pager" + "1a" * 4000 + "E").startswith("_ZN5Pager")
