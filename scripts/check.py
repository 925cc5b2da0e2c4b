"""`make check`: the rules of style and structure that a machine can hold.

Prints one line for each breach, `file:line: what`, and exits 1 if there is any.
"""

from __future__ import annotations

import ast
import gc
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import check_patterns  # noqa: E402
import check_python  # noqa: E402
from parts import may_import  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 500
# What a compiler brings with it, with no library behind (C11 4p6).
FREESTANDING = {"stdarg.h", "stdbool.h", "stddef.h", "stdint.h", "stdnoreturn.h", "limits.h"}
# Made when something is built.
GENERATED = {"screen_font.h"}
# Only these files of the loader talk to firmware; the rest compiles and is tested on the host.
FIRMWARE_FILES = re.compile(r"loader/(firmware/[a-z0-9_]+|main)\.[ch]$")
# Which folder of the loader, or file on its top, may include which others of its folders (a folder always its own
# headers, and those on the top).
LOADER_FOLDERS: dict[str, set[str]] = {
    "firmware": set(),
    "kernel": set(),
    "handoff": set(),
    "space": {"handoff"},
    "evidence": {"kernel", "handoff"},
    "inject": {"kernel", "handoff", "space"},
    "own_image": {"kernel"},
    "boot": {"kernel", "handoff", "space", "evidence", "inject"},
    "main": {"firmware", "kernel", "handoff", "space", "evidence", "inject"},
}
# Functions of the loader that others call by a name of theirs: the firmware's start-up code, and trace/exception.h.
NAMED_BY_CALLER = {"efi_main", "exception_dispatch"}
# A definition in the first column that is not static, of formatted C without its attributes.
ATTRIBUTE = re.compile(r"__attribute__\(\((?:[^()]|\([^()]*\))*\)\) ?")
DEFINITION = re.compile(r"^(?!static\b|typedef\b)[A-Za-z_][^;{}()=]*?\b(\w+)\([^;{}]*\) \{$", re.MULTILINE)
INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]')


def sources(*suffixes: str) -> Iterator[Path]:
    """Yield every file under version control or new, by suffix, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")
    for name in listed:
        if name.endswith(suffixes) and (ROOT / name).is_file():
            yield Path(name)


def may_include(file: Path, header: str) -> bool:
    """Return whether a file may include a header: docs/design.md, "Parts"."""
    part = file.parts[0]
    own = (ROOT / file).parent / header
    if file.parts[:2] == ("trace", "examples"):  # other people's programs, which have the one file
        return header in {*FREESTANDING, "cr3scope.h"} or own.is_file() or (header == "efi.h" and "gnu_efi" in file.parts)
    if part == "trace":
        return header in FREESTANDING or header in GENERATED or header.startswith("trace/") or own.is_file()
    if part == "kernel":
        return (header in FREESTANDING or header.startswith("trace/") or header == "handoff.h"
                or own.is_file())
    if part == "loader":
        return loader_may_include(file, header)
    return True


def loader_may_include(file: Path, header: str) -> bool:
    """Return whether a file of the loader may include a header, which it names by its path below ``loader/``.
    """
    if header.startswith("efi"):
        return FIRMWARE_FILES.match(str(file)) is not None
    if header in FREESTANDING or header.startswith("trace/") or header == "handoff.h":
        return True
    if not (ROOT / "loader" / header).is_file():
        return False
    own = file.parts[1].split(".")[0]
    if header == "boot.h":
        return file.suffix == ".c" and own != "firmware"
    folder = Path(header).parts[0] if "/" in header else own
    return folder == own or folder in LOADER_FOLDERS.get(own, set())


def check_includes() -> Iterator[str]:
    """Yield each include of the C parts that its place does not allow."""
    for file in sources(".c", ".h", ".S"):
        for number, line in enumerate((ROOT / file).read_text().split("\n"), 1):
            match = INCLUDE.match(line)
            if match and not may_include(file, match[1]):
                yield f"{file}:{number}: {file.parts[0]}/ may not include {match[1]}"


def check_loader_table() -> Iterator[str]:
    """Yield a breach if docs/design.md lists the loader's folders otherwise than LOADER_FOLDERS."""
    page = "docs/design.md"
    text = (ROOT / page).read_text().partition("### The loader's folders")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `(\w+)/?` \|[^|]*\|([^|]*)\|$", text, re.MULTILINE)
    if {name: set(re.findall(r"`(\w+)/`", includes)) for name, includes in rows} != LOADER_FOLDERS:
        yield f"{page}:1: the table of the loader's folders is not LOADER_FOLDERS of scripts/check.py"


def check_prefixes() -> Iterator[str]:
    """Yield each function of the loader that others can call and that does not begin with its file's name."""
    for file in sources(".c"):
        if file.parts[0] != "loader":
            continue
        text = ATTRIBUTE.sub("", (ROOT / file).read_text())
        for match in DEFINITION.finditer(text):
            if f"{match[1]}_".startswith(f"{file.stem}_") or match[1] in NAMED_BY_CALLER:
                continue
            line = text.count("\n", 0, match.start()) + 1
            yield f"{file}:{line}: {match[1]} does not begin with {file.stem}_"


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, module) of every import, also those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module


def check_imports() -> Iterator[str]:
    """Yield each import of what does not lie below a part of the package, and of gdb outside its adapters."""
    package = Path("scripts/analyze/cr3scope")
    for file in sources(".py"):
        inside = file.is_relative_to(package)
        part = file.relative_to(package).parts[0].removesuffix(".py") if inside else ""
        for line, module in imported(check_python.parsed((ROOT / file).read_text())):
            if module.split(".")[0] == "gdb" and file.parts[:2] != ("scripts", "gdb"):
                yield f"{file}:{line}: only scripts/gdb/ may import gdb"
            names = module.split(".")
            if inside and names[0] == "cr3scope" and len(names) > 1 and not may_import(part, names[1]):
                yield f"{file}:{line}: {part}/ may not import cr3scope.{names[1]}"


def check_sizes() -> Iterator[str]:
    """Yield each file of more than MAX_LINES lines: one concept a file."""
    for file in sources(".c", ".h", ".S", ".py", ".sh"):
        count = (ROOT / file).read_text().count("\n")
        if count > MAX_LINES:
            yield f"{file}:{count}: {count} lines; at most {MAX_LINES}"


def check_headers_alone() -> Iterator[str]:
    """Yield each header of the freestanding parts that does not compile by itself."""
    headers = [h for h in sources(".h") if h.parts[0] in ("trace", "kernel", "loader")]
    for header in headers:
        if any(name in (ROOT / header).read_text() for name in ("<efi.h>", "<efilib.h>", '"cr3scope.h"')):
            continue  # of a package, or made by the build
        done = subprocess.run(
            ["cc", "-std=gnu11", "-fsyntax-only", "-Wall", "-Wextra", "-Itrace/include",
             "-Iloader/include", "-Iloader", "-Ikernel", "-x", "c", "-include", str(header),
             "/dev/null"], cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            yield f"{header}:1: does not compile alone: {done.stderr.splitlines()[0]}"


def check_format() -> Iterator[str]:
    """Yield each place where C is not formatted by .clang-format."""
    files = [str(f) for f in sources(".c", ".h")]
    if shutil.which("clang-format") is None:
        yield "clang-format: not installed (make deps)"
        return
    done = subprocess.run(["clang-format", "--dry-run", "--Werror", *files], cwd=ROOT,
                          capture_output=True, text=True)
    for line in done.stderr.splitlines():
        if ": error: " in line:
            yield line.removeprefix(f"{ROOT}/")


def check_types() -> Iterator[str]:
    """Yield what mypy --strict says of the packages, gdb's commands and the program that starts gdb."""
    if shutil.which("mypy") is None:
        yield "mypy: not installed (make deps)"
        return
    # It makes millions of objects that stay: looking for garbage among them is an eighth of its time.
    has_module = importlib.util.find_spec("mypy") is not None
    mypy = [sys.executable, "-c", "import gc, runpy; gc.disable(); runpy.run_module('mypy', run_name='__main__')"] if has_module else ["mypy"]
    done = subprocess.run(
        [*mypy, "--strict", "--python-executable", sys.executable, "--no-error-summary",
         "--cache-dir", "build/mypy", "-p", "cr3scope", "-p", "cr3scope_commands", "-m", "debug",
         "-p", "release_matrix"],
        cwd=ROOT, capture_output=True, text=True,
        env={"MYPYPATH": ":".join(f"{ROOT}/scripts/{part}" for part in ("analyze", "gdb", "releases")), "PATH": "/usr/bin:/bin"})
    for line in (done.stdout + done.stderr).splitlines():
        if ": error: " in line or not line.startswith("scripts/"):
            yield line


def check_lint() -> Iterator[str]:
    """Yield what the linter finds in all Python."""
    yield from check_python.lint(ROOT, sources(".py"))


def check_unused() -> Iterator[str]:
    """Yield what the package, gdb's commands and scripts define and only tests use, or nobody."""
    files = [file for file in sources("") if file.parts[0] in ("scripts", "Makefile", "pyproject.toml")]
    python = [file for file in files if file.suffix == ".py"]
    # What its lines for gdb name is used, and so is what only a stranger's code will, as the worked examples show.
    named = (Path("scripts/gdb/debug.py"), Path("docs/contributing.md"), Path("docs/ci.md"))
    others = (file for file in sources("") if file in named)
    yield from check_python.unused(ROOT, python, [*others, *(file for file in files if file.suffix != ".py")])


def check_constants() -> Iterator[str]:
    """Yield each constant that the package and gdb's commands define twice."""
    package = Path("scripts/analyze/cr3scope")
    folders = (package, Path("scripts/gdb/cr3scope_commands"))
    files = [file for file in sources(".py") if any(file.is_relative_to(folder) for folder in folders)]
    yield from check_python.repeated(ROOT, files, package / "x86")


def check_docstrings() -> Iterator[str]:
    """Yield each public function of the scripts whose docstring does not begin with a verb (docs/style.md)."""
    yield from check_python.docstrings(ROOT, (file for file in sources(".py") if file.parts[0] == "scripts"))


def check_regular_expressions() -> Iterator[str]:
    """Yield each regular expression of the package and of gdb's side that can be slow on some line."""
    package = Path("scripts/analyze/cr3scope")
    files = [file for file in sources(".py") if file.is_relative_to(package) or file.is_relative_to("scripts/gdb")]
    yield from check_patterns.breaches(ROOT, files, package)


# Those that wait for a program, the longest first; beside them the others go one after another, and parse each file once.
WAITING = (check_types, check_headers_alone, check_format)
READING = (check_lint, check_regular_expressions, check_unused, check_constants, check_includes, check_loader_table, check_prefixes,
           check_imports, check_sizes, check_docstrings)


def main() -> int:
    """Run every check and print what they say; return 0 if that is nothing, else 1."""
    gc.disable()  # the trees of all files are kept for the next check, and looking for garbage among them takes a third of the time
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(lambda check=check: list(check())) for check in WAITING]
        read = [line for check in READING for line in check()]
        breaches = [line for one in waiting for line in one.result()] + read
    for line in breaches:
        print(line)
    print(f"check: {len(breaches)} breaches" if breaches else "check: clean")
    return int(bool(breaches))


if __name__ == "__main__":
    sys.exit(main())
