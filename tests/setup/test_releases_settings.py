"""`make releases`: settings, the mirror, and what the machine must have."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from boot.reference import ROOT
from release_matrix import command, mirror, settings
from release_matrix.errors import ReleasesError
from setup.fake_machine import FakeMachine

DEBIAN = "http://mirror.example/debian/"


def read(**environment: str) -> settings.Settings:
    return settings.read(environment, ROOT, "x86_64")


def no_file(path: str) -> str:
    raise FileNotFoundError(path)


def test_without_settings_it_is_every_release_quickly_on_this_architecture() -> None:
    asked = read(SUITES="", TESTS="")
    assert asked == settings.Settings(("bookworm", "trixie", "sid"), ("make", "quick"), "amd64", None, False)
    elsewhere = settings.read({}, ROOT, "aarch64")
    assert (elsewhere.arch, elsewhere.emulated) == ("arm64", False)


def test_settings_are_taken() -> None:
    asked = read(SUITES="sid  trixie sid", TESTS="all", ARCH="arm64", MIRROR=DEBIAN, REFRESH="1")
    assert asked == settings.Settings(("sid", "trixie"), ("make", "test"), "arm64", DEBIAN, True, emulated=True)


def test_some_tests_are_run_as_make_test_runs_them() -> None:
    words = read(TESTS="tests/host tests/setup/test_deps.py::test_an_unknown_group_is_one_line").tests
    assert words[-2:] == ("tests/host", "tests/setup/test_deps.py::test_an_unknown_group_is_one_line")
    assert "deps-test.stamp" in words[2]
    assert read(TESTS="tests/host").tests_title == "pytest tests/host"
    assert read(TESTS="all").tests_title == "make test"


@pytest.mark.parametrize(("name", "value", "said"), [
    ("SUITES", "../../etc", "SUITES: '../../etc' is not the name of a release, such as bookworm trixie sid"),
    ("SUITES", "trixie Sid", "SUITES: 'Sid' is not the name of a release, such as bookworm trixie sid"),
    ("TESTS", "most", "TESTS=most: quick, all, or files and folders under tests/"),
    ("TESTS", "tests/nowhere", "TESTS=tests/nowhere: quick, all, or files and folders under tests/"),
    ("TESTS", "tests/../docs", "TESTS=tests/../docs: quick, all, or files and folders under tests/"),
    ("TESTS", "tests/host /etc", "TESTS=tests/host /etc: quick, all, or files and folders under tests/"),
    ("ARCH", "riscv64", "ARCH=riscv64: amd64 or arm64"),
    ("REFRESH", "yes", "REFRESH=yes: 0 or 1"),
])  # fmt: skip
def test_a_value_that_cannot_be_used_is_one_line(name: str, value: str, said: str) -> None:
    with pytest.raises(ReleasesError) as raised:
        read(**{name: value})
    assert str(raised.value) == said


@pytest.mark.parametrize(("targets", "chosen"), [
    ("http://mirror.example/debian/|bookworm|main|Debian", "http://mirror.example/debian"),
    # The index says what it is, whatever its address.
    ("http://other.example/debian|bookworm|main|\nhttp://proxy.example/apt/remote-7|sid|main|Debian",
     "http://proxy.example/apt/remote-7"),
    # No index was read yet: the address alone.
    ("http://mirror.example/debian-security/|bookworm-security|main|$(ORIGIN)\n"
     "https://mirror.example/debian/|bookworm|main|$(ORIGIN)", "https://mirror.example/debian"),
    ("http://mirror.example/debian|bookworm-updates|main|Debian\n"
     "https://vendor.example/linux/debian|bookworm|stable|\n"
     "https://vendor.example|bookworm|main|", None),
    ("http://archive.example/ubuntu|noble|main|Ubuntu", None),
    ("cdrom:[Debian]/|bookworm|main|Debian\nfile:/srv/debian|bookworm|main|Debian", None),
    ("", None),
    ("garbage\n|||\n", None),
])  # fmt: skip
def test_the_mirror_is_that_of_the_machine_s_own_archive(targets: str, chosen: str | None) -> None:
    assert mirror.choose(targets, no_file) == chosen


def test_a_list_of_mirrors_gives_its_first() -> None:
    targets = "mirror+file:/etc/apt/mirrors/debian.list|bookworm|main|Debian"
    files = {
        "/etc/apt/mirrors/debian.list": "# mirrors\n\nhttp://first.example/debian/ priority:1\nhttp://second.example/debian\n"
    }
    assert mirror.choose(targets, files.__getitem__) == "http://first.example/debian"
    assert mirror.choose(targets, no_file) is None


def test_without_a_mirror_it_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ReleasesError, match=r"^no mirror of Debian in apt's sources: MIRROR=http://\.\.\. names one$"
    ):
        mirror.of_this_machine()


@pytest.mark.parametrize(("registered", "runs"), [
    ("enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n", True),
    ("enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: OC\noffset 0\n", False),  # not found from inside a root
    ("disabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: F\n", False),
    (None, False),
])  # fmt: skip
def test_an_emulator_must_be_on_and_reach_into_a_root(
    registered: str | None, runs: bool, tmp_path: Path
) -> None:
    if registered is not None:
        (tmp_path / "qemu-aarch64").write_text(registered)
    assert command.emulated("aarch64", tmp_path) is runs


# --- the command itself ---------------------------------------------------------------------------------------


def releases(
    folder: Path, *, path: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("SUITES", "TESTS", "ARCH", "MIRROR")
    }
    return subprocess.run(
        [sys.executable, "-B", "-m", "release_matrix", folder], capture_output=True, text=True, timeout=60,
        cwd=ROOT, stdin=subprocess.DEVNULL,
        env={**inherited, "PYTHONPATH": str(ROOT / "scripts/releases"), **({"PATH": path} if path else {}), **environment},
    )  # fmt: skip


def test_a_wrong_value_ends_the_command_with_2(tmp_path: Path) -> None:
    done = releases(tmp_path, TESTS="some")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "releases: TESTS=some: quick, all, or files and folders under tests/\n"


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeMachine:
    """A machine on which this program is root, with git and nothing that makes roots."""
    here = FakeMachine(tmp_path / "machine")
    git = shutil.which("git")
    assert git
    (here.bin / "git").symlink_to(git)
    for name in ("SUITES", "TESTS", "ARCH", "MIRROR", "REFRESH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(here.bin))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(command, "SBIN", str(here.bin))
    monkeypatch.setattr(command.isolated, "check", lambda: None)
    return here


def said_by(folder: Path, capfd: pytest.CaptureFixture[str]) -> str:
    assert command.main([str(folder)]) == 2
    return capfd.readouterr().err


def test_without_root_it_says_so(
    as_root: FakeMachine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert said_by(tmp_path, capfd) == "releases: making a release's root needs root: sudo make releases\n"


def test_without_debootstrap_it_says_how_to_get_it(
    as_root: FakeMachine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    as_root.add_manager("apk", "exit 1")
    assert said_by(tmp_path, capfd).splitlines()[-1] == (
        "deps: apk failed (above); by hand: apk add --update-cache debootstrap"
    )


@pytest.mark.parametrize(("name", "value", "said"), [
    ("SUITES", "trixie potatoe", "releases: SUITES: debootstrap knows no release named potatoe\n"),
    ("ARCH", "arm64", "releases: ARCH=arm64 needs qemu-aarch64 registered with binfmt_misc for programs in a root: "
                      "apt-get install qemu-user-static binfmt-support\n"),
    ("MIRROR", "", "releases: no mirror of Debian in apt's sources: MIRROR=http://... names one\n"),
])  # fmt: skip
def test_what_the_machine_cannot_do_is_one_line(
    name: str, value: str, said: str, as_root: FakeMachine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    as_root.add("debootstrap")
    (tmp_path / "scripts").mkdir()
    for suite in settings.SUITES:
        (tmp_path / "scripts" / suite).touch()
    monkeypatch.setenv("DEBOOTSTRAP_DIR", str(tmp_path))
    monkeypatch.setattr(command, "emulated", lambda *_: False)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "here", "6", "1", "x86_64")))
    monkeypatch.setenv(name, value)
    assert said_by(tmp_path / "out", capfd) == said


def test_outside_a_checkout_it_says_so(
    as_root: FakeMachine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "TREE", tmp_path)
    assert said_by(tmp_path, capfd).startswith(
        f"releases: {tmp_path} is not a git checkout: fatal: not a git repository"
    )
