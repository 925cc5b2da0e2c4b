"""`make check`: which folder of the loader may include what, whose name its functions carry, and the style of Python."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest
from boot.reference import ROOT


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return scripts/check.py, which looks at a loader of empty headers in tmp_path."""
    spec = importlib.util.spec_from_file_location("check", ROOT / "scripts/check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for header in ("boot.h", "message.h", "space/page_table.h", "inject/faults.h"):
        path = tmp_path / "loader" / header
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return module


def test_folders_of_the_loader_include_each_other_one_way(check: ModuleType) -> None:
    TopologicalSorter(check.LOADER_FOLDERS).prepare()  # raises where folders include each other in a circle
    folders = {path.name for path in (ROOT / "loader").iterdir() if path.is_dir()} - {"include"}
    assert check.LOADER_FOLDERS["main"] == folders


@pytest.mark.parametrize(
    ("file", "header", "allowed"),
    [
        ("space/page_table.c", "space/page_table.h", True),
        ("space/page_table.c", "message.h", True),
        ("inject/on_tables.c", "space/page_table.h", True),
        ("inject/spoil.c", "boot.h", True),
        ("firmware/firmware.h", "efi.h", True),
        ("main.c", "efi.h", True),
        ("space/page_table.c", "inject/faults.h", False),
        ("space/page_table.c", "page_table.h", False),
        ("space/page_table.c", "efi.h", False),
        ("space/page_table.c", "string.h", False),
        ("space/mapping.h", "boot.h", False),
        ("firmware/firmware.c", "boot.h", False),
        ("message.c", "space/page_table.h", False),
        ("elsewhere/new.c", "space/page_table.h", False),
    ],
)
def test_loader_file_may_include_only_what_its_folder_may(
    check: ModuleType, file: str, header: str, allowed: bool
) -> None:
    path = check.ROOT / "loader" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#include "{header}"\n')
    breach = f"loader/{file}:1: loader/ may not include {header}"
    assert list(check.check_includes()) == ([] if allowed else [breach])


@pytest.mark.parametrize(
    ("definition", "name"),
    [
        ("int elf_check(void) {", None),
        ("int elf(void) {", None),
        ("static int check(void) {", None),
        ("int check(void);", None),
        ("void exception_dispatch(struct exception_frame *frame) {", None),
        ("int check(void) {", "check"),
        ("int elfcheck(void) {", "elfcheck"),
        ("struct note elf64_note(int number,\n                       int other) {", "elf64_note"),
        ("__attribute__((noinline, section(\"a\"))) bool\ncheck(int number) {", "check"),
        ("_Noreturn void leave(void) {", "leave"),
    ],
)
def test_function_that_others_can_call_begins_with_its_files_name(
    check: ModuleType, definition: str, name: str | None
) -> None:
    (check.ROOT / "loader/elf.c").write_text(f"/* A file. */\n\n{definition}\n    return 0;\n}}\n")
    breach = f"loader/elf.c:3: {name} does not begin with elf_"
    assert list(check.check_prefixes()) == ([breach] if name else [])


def lines(check: ModuleType, name: str, **files: str) -> list[str]:
    """Return what one check says of scripts with these texts."""
    folder = check.ROOT / "scripts"
    folder.mkdir(exist_ok=True)
    for stem, text in files.items():
        (folder / f"{stem}.py").write_text(text)
    return list(getattr(check, f"check_{name}")())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import os\n\nprint(os.name)\n", None),
        ("import os\n", "1:1: 'os' imported but unused"),
        ("def f():\n    a = 1\n", "2:5: local variable 'a' is assigned to but never used"),
        ("def f():\n    return 1\n\n\ndef f():\n    return 2\n", "5:1: redefinition of unused 'f' from line 1"),
        ("print(missing)\n", "1:7: undefined name 'missing'"),
        ("print(\n", "1:6: '(' was never closed"),
    ],
)
def test_linter_finds_what_python_would_not_say(check: ModuleType, text: str, found: str | None) -> None:
    said = [line for line in lines(check, "lint", a=text) if line.startswith("scripts/")]
    assert said == ([f"scripts/a.py:{found}"] if found else [])


def test_a_linter_that_is_not_there_is_a_breach(check: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyflakes.checker", None)
    assert list(check.check_python.lint(check.ROOT, [])) == ["pyflakes: not installed (make deps)"]


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("def f() -> None: ...\n", "f"),
        ("def f() -> None:\n    f()\n", "f"),
        ("class C:\n    def used(self) -> None: ...\n\n\nC().used()\n", None),
        ("class C:\n    def f(self) -> None: ...\n\n\nprint(C)\n", "f"),
        ("class C:\n    field: int\n\n\nprint(C)\n", "field"),
        ("LIMIT = 1\n", "LIMIT"),
        ("LIMIT = 1\nprint(LIMIT)\n", None),
        ("def f() -> None: ...\n\n\nprint(getattr(object, 'f'))\n", None),
        ('"""Tells of f."""\n\n\ndef f() -> None: ...\n', "f"),
        ("import gdb\n\n\nclass C(gdb.Command):\n    def f(self) -> None: ...\n\n\nC()\n", None),
        ("def in_template() -> None: ...\n", None),
    ],
)
def test_what_nobody_uses_is_a_breach(check: ModuleType, text: str, dead: str | None) -> None:
    (check.ROOT / "scripts").mkdir()
    (check.ROOT / "scripts/page.html.j2").write_text("{{ boot.in_template() }}")
    said = lines(check, "unused", a=text)
    assert [line.split(": nobody uses ")[1] for line in said] == ([dead] if dead else [])


def test_what_only_a_test_or_an_import_names_is_unused(check: ModuleType) -> None:
    (check.ROOT / "tests").mkdir()
    (check.ROOT / "tests/test_a.py").write_text("from a import f\n\nf()\n")
    said = lines(check, "unused", a="def f() -> None: ...\n", b="from a import f\n")
    assert said == ["scripts/a.py:1: nobody uses f"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("PAGE_BYTES = 4096\n", "PAGE_BYTES is 4096 in scripts/analyze/cr3scope/x86/ground.py too"),
        ("_PAGE_BYTES = 1 << 12\n", "_PAGE_BYTES is 4096 in scripts/analyze/cr3scope/x86/ground.py too"),
        ("SHIFT, PAGE_BYTES = 12, 4096\n", "PAGE_BYTES is 4096 in scripts/analyze/cr3scope/x86/ground.py too"),
        ("ROLES = frozenset({'a'})\n", "ROLES is {'a'} in scripts/analyze/cr3scope/x86/ground.py too"),
        ("PAGE_BYTES = 4097\n", None),
        ("MOST_PAGES = 4096\n", None),
        ("page_bytes = 4096\n", None),
        ("def f(at: int) -> int:\n    return at & ~0xFFF\n", "a number of x86/: PAGE_FRAME"),
        ("def f(at: int) -> int:\n    return at + 4095\n", "a number of x86/: PAGE_OFFSET"),
        ("def f(at: int) -> int:\n    return at & (1 << 64) - 1\n", "a number of x86/: MASK64"),
        ("def f(at: int) -> int:\n    return at & 1 << 63\n", "a number of x86/: NO_EXECUTE, or a constant of another name"),
        ("ERROR = 1 << 63\n", None),
        ("ALL = 2**64 - 1\n", "a number of x86/: MASK64"),
    ],
)
def test_a_constant_has_one_definition(check: ModuleType, text: str, said: str | None) -> None:
    package = check.ROOT / "scripts/analyze/cr3scope"
    (package / "x86").mkdir(parents=True)
    (package / "x86/ground.py").write_text("PAGE_BYTES = 4096\nMASK = ~0xFFF\nROLES = frozenset({'a'})\n")
    (package / "above.py").write_text(text)
    assert [line.split(": ", 1)[1] for line in check.check_constants()] == ([said] if said else [])


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ('def f() -> int:\n    """Return one."""\n    return 1\n', None),
        ('def f() -> int:\n    """The number one."""\n    return 1\n', "The"),
        ('def f() -> int:\n    """Returns one."""\n    return 1\n', "Returns"),
        ('class C:\n    """A thing."""\n\n    def f(self) -> int:\n        """Of one."""\n        return 1\n', "Of"),
        ('class C:\n    """A thing."""\n\n    @property\n    def f(self) -> int:\n        """One."""\n        return 1\n', "One"),
        ('def _f() -> int:\n    """The number one."""\n    return 1\n', None),
        ("def f() -> int:\n    return 1\n", None),
    ],
)
def test_docstring_of_a_public_function_begins_with_a_verb(check: ModuleType, text: str, first: str | None) -> None:
    said = lines(check, "docstrings", a=text)
    assert [line.split("with no verb that is known: ")[1] for line in said] == ([first] if first else [])
