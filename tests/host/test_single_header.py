"""`build/cr3scope.h`: whoever includes it, and however it is compiled, gets no warning and nothing undefined."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import c_unit
import pytest
from boot.reference import takes_all

_TEXT_BYTES = 24 * 1024
_STACK_BYTES = 2 * 1024
_WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
_FREESTANDING = ["-ffreestanding", "-fno-stack-protector"]
_INTEGERS = {"gcc": "-mgeneral-regs-only", "g++": "-mgeneral-regs-only", "clang": "-mno-sse", "clang++": "-mno-sse"}
_SMALL = {"gcc": "-Os", "clang": "-Oz"}
_LEAN = ["-fPIC", "-mno-red-zone", "-fno-asynchronous-unwind-tables"]
_PE = ["--target=x86_64-unknown-windows"]
_SCREEN = "-DCR3SCOPE_SCREEN"


def _unless_all(*flags: str) -> list[str]:
    """Cheaper flags than -O1, where not all is taken."""
    return [] if takes_all() else [*flags]


# Optimizers take ten times as long as the rest of the compilers, clang's the longest. Each sees the code once for speed and once
# for size, and clang's all of it in PE, too: there they may put in calls. The rest is of the language, the code model and the format.
_ELF = {
    "kernel": ["-mcmodel=kernel", "-fno-pic", "-mno-red-zone"],
    "pic": ["-fPIC", *_unless_all("-O0")],
    "red-zone": ["-fno-pic", "-O0"],
}
Build = tuple[str, str, str, list[str]]
_BUILDS: list[Build] = [
    *((compiler, "c11", "kernel", _ELF["kernel"]) for compiler in _SMALL),
    *((compiler, "c11", "pic", [*_LEAN, size]) for compiler, size in _SMALL.items()),
    *((compiler, "c11", "red-zone", _ELF["red-zone"]) for compiler in _SMALL),
    *(("g++", "c++17", name, flags) for name, flags in _ELF.items()),
    *(("clang++", "c++17", name, [*flags, *_unless_all("-O0")]) for name, flags in _ELF.items()),
    ("clang", "c11", "pe", [*_PE, *_unless_all("-O0")]),
    ("clang++", "c++17", "pe", [*_PE, *_unless_all("-O0")]),
    ("gcc", "c11", "screen", [*_LEAN, _SMALL["gcc"], _SCREEN]),
    ("clang++", "c++17", "screen", [*_PE, _SCREEN, *_unless_all("-Oz")]),
]
# What the linker may see of it. On COFF weak names have a stand-in beside them, and texts a name.
_SEEN = re.compile(r"(cr3scope_\w+|mem(cpy|move|set|cmp)|\.weak\.\w+\.default\.\w+|@feat\.00|\?\?_C@.*)$")
Compiled = Callable[..., Path]


@pytest.fixture(scope="session")
def header() -> Path:
    return c_unit.build_path("cr3scope.h")


@pytest.fixture(scope="module")
def compiled(header: Path, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """An object of a file that is nothing but the library, and includes the interface twice: the same one, where it is asked for again."""

    @cache
    def made(compiler: str, language: str, *flags: str, before: str = "", rehearses: bool = False) -> Path:
        source = tmp_path_factory.mktemp("header") / ("one.cpp" if "++" in compiler else "one.c")
        rehearsal = "#define CR3SCOPE_REHEARSAL\n" if rehearses else ""
        source.write_text(f'#include "cr3scope.h"\n{before}{rehearsal}#define CR3SCOPE_IMPLEMENTATION\n#include "cr3scope.h"\n')
        words = [compiler, f"-std={language}", "-O1", *_WARNINGS, *_FREESTANDING, _INTEGERS[compiler], *flags,
                 f"-I{header.parent}", "-c", str(source), "-o", str(source.with_suffix(".o"))]  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]
        return source.with_suffix(".o")

    return made


def shared(compiler: str) -> pytest.MarkDecorator:
    """Of tests that look at the same object, so that one process makes it."""
    return pytest.mark.xdist_group(f"header-{compiler}")


def marks(build: Build) -> list[pytest.MarkDecorator]:
    compiler, _, _, flags = build
    return [shared(compiler)] if set(_LEAN) <= set(flags) else []


@pytest.mark.slow
@pytest.mark.parametrize(
    "compiler,language,name,flags", [pytest.param(*one, id=f"{one[0]}-{one[2]}", marks=marks(one)) for one in _BUILDS]
)
def test_compiles_without_a_warning_and_leaves_nothing_undefined(
    compiler: str, language: str, name: str, flags: list[str], compiled: Compiled
) -> None:
    rehearses = "++" in compiler or name in ("kernel", "pe")  # with it and without it: each in half of the builds
    made = compiled(compiler, language, *flags, rehearses=rehearses)
    listed = subprocess.run(["nm", made], capture_output=True, text=True, check=True).stdout
    symbols = [line.split()[-2:] for line in listed.splitlines()]
    # With -fPIC the linker makes the table of offsets itself.
    assert not [name for kind, name in symbols if kind == "U" and name != "_GLOBAL_OFFSET_TABLE_"]
    assert not [name for kind, name in symbols if kind in "TDBRVW" and not _SEEN.match(name)]


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_links_where_the_linker_optimises(compiler: str, header: Path, tmp_path: Path) -> None:
    source = tmp_path / "kernel.c"
    source.write_text('#define CR3SCOPE_IMPLEMENTATION\n#include "cr3scope.h"\n'
                      "struct cr3scope_request request;\nvoid _start(void);\nvoid _start(void) { cr3scope_switch(&request); }\n")  # fmt: skip
    words = [compiler, "-std=c11", "-Os", "-flto", "-fuse-ld=lld" if compiler == "clang" else "-fno-pic", *_FREESTANDING, _INTEGERS[compiler],
             "-nostdlib", "-static", f"-I{header.parent}", str(source), "-o", str(tmp_path / "kernel.elf")]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]


@pytest.mark.slow
def test_names_of_a_program_do_not_meet_those_of_the_library(compiled: Compiled) -> None:
    mine = "#define PAGE_BYTES 1\n#define PRESENT 1\nstruct trace { int walk; };\nint walk(struct trace *); int put; int blame; enum { ACCESS_READ };\n"
    compiled("gcc", "c11", "-fsyntax-only", before=mine)


def test_says_which_version_it_is(header: Path) -> None:
    assert re.search(r'^#define CR3SCOPE_VERSION "\d+\.\d+\.\d+"$', header.read_text(), re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang++"])
def test_a_uart_in_memory_is_compiled_in_where_it_is_asked_for(compiler: str, compiled: Compiled) -> None:
    language = "c++17" if "++" in compiler else "c11"
    made = compiled(compiler, language, "-mno-red-zone", "-DCR3SCOPE_UART_MEMORY", *(_unless_all("-O0") if "++" in compiler else []))
    assert " U " not in subprocess.run(["nm", made], capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("compiler,size", [pytest.param(*one, marks=shared(one[0])) for one in _SMALL.items()])
def test_code_is_small_and_so_is_its_stack(compiler: str, size: str, compiled: Compiled) -> None:
    made = compiled(compiler, "c11", *_LEAN, size, rehearses=False)
    sections = subprocess.run(["size", "-A", made], capture_output=True, text=True, check=True).stdout
    text = sum(int(count) for name, count in re.findall(r"^(\.text\S*)\s+(\d+)", sections, re.MULTILINE))
    assert 0 < text <= _TEXT_BYTES
    print(f"{compiler} {size}: {text} bytes of text")


@pytest.mark.slow
@shared("gcc")
def test_what_draws_is_in_the_code_only_where_it_is_asked_for(compiled: Compiled) -> None:
    sizes = [compiled("gcc", "c11", *_LEAN, _SMALL["gcc"], *more, rehearses=False).stat().st_size for more in ([], [_SCREEN])]
    assert sizes[0] + 8192 < sizes[1]


@pytest.mark.slow
def test_deepest_chain_of_calls_fits_two_kilobytes(compiled: Compiled) -> None:
    made = compiled("gcc", "c11", "-mno-red-zone", "-Os", "-fstack-usage", "-fcallgraph-info=su", rehearses=True)
    graph = made.with_suffix(".ci").read_text()
    frame = {name: int(size) for name, size in re.findall(r'node: \{ title: "([^"]+)" label: "[^"]*?\\n(\d+) bytes', graph)}
    calls: dict[str, set[str]] = {}
    for caller, callee in re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', graph):
        calls.setdefault(caller, set()).add(callee)

    by_title = {name.rsplit(":", 1)[-1].removeprefix("cr3scope_i_"): name for name in frame}

    def depth(name: str, through_pointers: int, above: tuple[str, ...] = ()) -> int:
        """Bytes of this function and what it calls; through_pointers: of whatever it calls by a pointer."""
        assert name not in above, f"{name} calls itself"
        if name == "__indirect_call":
            return through_pointers
        deeper = (depth(one, through_pointers, (*above, name)) for one in calls.get(name, ()))
        return frame.get(name, 0) + 8 + max(deeper, default=0)

    # By pointers: a table is read through the tables in force, and those by a function that calls the caller's own; a
    # word is taken from a table; a sink writes.
    ends = ("table_reader_trusted_table", "uart_uart_write", "debugcon_debugcon_write", "table_stream_entry_value", "memory_strided_word")
    end = max(depth(by_title[one], 0) for one in ends if one in by_title)
    reader = depth(by_title["table_reader_readable_table"], end)
    deepest = max(depth(name, max(reader, end)) for name in ("cr3scope_check", "cr3scope_rehearse", "cr3scope_switch", "cr3scope_leave"))
    assert reader > end and deepest <= _STACK_BYTES, deepest
    print(f"{deepest} bytes of stack")


@pytest.mark.parametrize("example", sorted((c_unit.ROOT / "trace/examples").glob("*/*.c")), ids=lambda path: path.parent.name)
def test_example_is_short(example: Path) -> None:
    lines = [line.strip() for line in example.read_text().splitlines()]
    own = [line for line in lines if line and not line.startswith(("/*", "*"))]
    first = next(number for number, line in enumerate(lines) if line.startswith(("struct cr3scope_range ", "struct cr3scope_request ")))
    call = next(number for number, line in enumerate(lines) if line.startswith("cr3scope_switch("))
    assert len(own) < 60 and call - first + 1 <= 12
