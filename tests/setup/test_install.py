"""An install: built of a copy without git, into a folder with blanks, used from elsewhere, and never written to again."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from boot.reference import ROOT

pytestmark = [pytest.mark.xdist_group("install"), pytest.mark.slow]  # one process builds it
PATIENCE = 800  # seconds: Debian's tools beside other tests
ARCHIVE = ROOT / "scripts/packaging/source_archive.py"
CAPTURE, LOG = ROOT / "tests/captures/nx-upper-level.serial.log", ROOT / "tests/captures/qemu-7.2.stack-unmapped.interrupts.log"
# Every verb, in one process: its help, and one thing that it does.
EVERY_VERB = """
import contextlib, io, sys
from pathlib import Path
import cr3scope
from cr3scope.cli.main import VERBS, main
capture, log, elf = sys.argv[1:]
assert "site-packages" in cr3scope.__file__, cr3scope.__file__
uses = {
    "analyze": [capture, "--html", "page.html"], "triage": [log], "maps": [capture], "map": [capture, "0x1000"],
    "walk": [capture, "0x1000"], "diff": [capture, capture], "lint": [elf], "explain": ["nx-upper-level"],
    "doctor": ["--report", "report"], "files": [], "gdb-init": [], "completion": ["bash"], "run": ["-o", "kept", "--", "no-such-qemu"],
}
for verb in VERBS:
    for words in (["--help"], uses.get(verb)):
        if words is None:
            continue
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())) as out, contextlib.redirect_stderr(err):
            try:
                status = main([verb, *words])
            except SystemExit as end:
                status = end.code or 0
            out.flush()
            told = len(out.buffer.getvalue())
        print(verb, words[0] if words else "-", status, bool(told), err.getvalue().strip()[:200], sep="|")
"""


def run(command: list[str | Path], cwd: Path, **settings: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "CR3SCOPE_PYTHON")}
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
        env={**environment, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": "1", **settings},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def state(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*")) if path.is_file()}


@dataclass(frozen=True)
class Installed:
    folder: Path
    elsewhere: Path
    tree: dict[str, int]
    tree_after: dict[str, int]

    @property
    def command(self) -> Path:
        return self.folder / "bin/cr3scope"

    def says(self, *words: str) -> str:
        return run([self.command, *words], self.elsewhere)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    top = tmp_path_factory.mktemp("install")
    elsewhere, venv = top / "else where", top / "tools of mine"
    elsewhere.mkdir()
    run([sys.executable, ARCHIVE, top / "cr3scope-x.tar.gz"], top)
    run(["tar", "xzf", "cr3scope-x.tar.gz"], top)
    tree = state(top / "cr3scope-x")
    pip: list[str | Path] = [sys.executable, "-m", "pip"]
    wheel = ["wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index", "-w", top, "."]
    run([*pip, *wheel], top / "cr3scope-x")
    run([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", venv], top)
    [built] = top.glob("*.whl")
    # With its dependencies, which the machine's own packages are: none is missing, and none is fetched.
    run([*pip, "--python", venv / "bin/python", "install", "-q", "--no-index", built], top)
    return Installed(venv, elsewhere, tree, state(top / "cr3scope-x"))


def test_a_build_leaves_no_trace_in_the_tree(installed: Installed) -> None:
    """setuptools by itself left build/lib, from which later builds took modules that were gone."""
    assert installed.tree == installed.tree_after and "pyproject.toml" in installed.tree


def test_the_command_starts_from_a_folder_with_blanks(installed: Installed) -> None:
    assert installed.says("--version") == "cr3scope 0.1.0\n"


def test_every_verb_works_and_nothing_is_written_into_the_install(installed: Installed) -> None:
    before = state(installed.folder)
    told = run([installed.folder / "bin/python", "-I", "-c", EVERY_VERB, CAPTURE, LOG, "/bin/true"], installed.elsewhere)
    rows = [line.split("|") for line in told.splitlines()]
    assert {row[0] for row in rows} >= {"analyze", "run", "files", "completion"}
    for verb, first, status, printed, said in rows:
        assert "internal error" not in said and "Python module" not in said, told
        if first == "--help":
            assert (status, printed) == ("0", "True"), told
        elif verb != "run":
            assert status in ("0", "1"), told
    assert "no-such-qemu" in told and (installed.elsewhere / "page.html").stat().st_size > 20000
    assert state(installed.folder) == before


def test_the_files_of_other_languages_are_there(installed: Installed) -> None:
    places = {name: Path(installed.says("files", name).strip()) for name in ("gdb", "plugin", "header", "examples")}
    assert all(str(place).startswith(str(installed.folder)) for place in places.values()), places
    assert (places["plugin"] / "plugin.c").is_file() and (places["plugin"] / "layout.h").is_file()
    assert (places["examples"] / "multiboot/start.S").is_file()
    run(["gcc", "-fsyntax-only", "-ffreestanding", "-mgeneral-regs-only", "-DCR3SCOPE_IMPLEMENTATION", "-x", "c", places["header"]], installed.elsewhere)
    installed.says("files", "examples", "-o", "mine")
    assert (installed.elsewhere / "mine/examples/limine/link.ld").is_file()


def test_gdb_takes_the_line_of_gdb_init(installed: Installed) -> None:
    line = installed.says("gdb-init").rstrip("\n")
    told = run(["gdb", "-q", "-nx", "-batch", "-ex", line, "-ex", "help cr3scope walk", "-ex",
                "python import cr3scope; print(cr3scope.__file__)"], installed.elsewhere)  # fmt: skip
    assert "Show every page-table entry that an address meets" in told and str(installed.folder) in told, told
    assert "Traceback" not in told and "no module" not in told, told


def test_the_archive_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run([sys.executable, ARCHIVE, tmp_path / name / "cr3scope-0.tar.gz"], tmp_path)
    first, second = (tmp_path / name / "cr3scope-0.tar.gz" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as packed:
        owners = {(one.uid, one.gid, one.uname, one.mtime) for one in packed}
        assert len(owners) == 1 and packed.getmember("cr3scope-0/scripts/cr3scope").mode == 0o755


def test_the_release_has_one_number() -> None:
    from cr3scope import __version__

    assert (ROOT / "debian/changelog").read_text().startswith(f"cr3scope ({__version__}) ")
    assert __version__ in run(["make", "-s", "-p", "-n", "help"], ROOT).partition("VERSION := ")[2][:20]


@pytest.mark.skipif(not os.environ.get("CR3SCOPE_TEST_DEB"), reason="Debian's tools take minutes; CR3SCOPE_TEST_DEB=1 builds the package")
@pytest.mark.timeout(PATIENCE)
def test_debian_packages_are_built_and_lintian_accepts_them(tmp_path: Path) -> None:
    told = run([ROOT / "scripts/packaging/deb", tmp_path], ROOT)
    [package] = (tmp_path / "deb").glob("*.deb")
    assert not [line for line in told.splitlines() if line[:2] in ("E:", "W:")], told
    held = run(["dpkg-deb", "-c", package], tmp_path)
    for name in ("/usr/bin/cr3scope", "/usr/share/man/man1/cr3scope.1.gz", "/usr/share/bash-completion/completions/cr3scope",
                 "/usr/lib/python3/dist-packages/cr3scope/shipped/header/cr3scope.h"):  # fmt: skip
        assert f".{name}\n" in held, held
