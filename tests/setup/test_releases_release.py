"""`make releases`: one release's steps with a made-up runner, roots that are whole or not, the copied tree."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from release_matrix import roots, tree
from release_matrix.errors import ReleasesError
from release_matrix.outcome import Outcome
from release_matrix.release import Release
from release_matrix.roots import Root
from release_matrix.settings import Settings

MIRROR = "http://mirror.example/debian"
VERDICTS = {
    "healthy": {"verdict": "healthy", "agreement": True, "findings": []},
    "slow": {"verdict": "healthy", "agreement": None, "findings": []},
    "flagship": {"verdict": "faulted", "agreement": True, "findings": [{"rule": "nx-upper-level"}]},
    "surprise": {"verdict": "faulted", "agreement": False, "findings": [{"rule": "nx-upper-level"}]},
    "other": {"verdict": "faulted", "agreement": True, "findings": [{"rule": "stack-unmapped"}]},
}


class Script:
    """A runner that does what each step would leave behind, or fails where it is told to."""

    def __init__(self, **said: tuple[int, str]) -> None:
        # Step: exit status, and the verdict's name or the log's text.
        self.said = {"root": (0, ""), "run-trace": (0, "healthy"), "flagship": (2, "flagship"),
                     "tests": (0, "9 passed, 2 skipped in 1.00s\n"), "versions": (0, "gcc\tgcc 12.2.0\n"), **said}  # fmt: skip
        self.taken: list[str] = []
        self.words: dict[str, tuple[str, ...]] = {}

    def __call__(
        self,
        words: Sequence[str],
        log: Path,
        root: Path | None = None,
        cache: Path | None = None,
        folder: str = "/",
    ) -> int:
        step = log.suffixes[-2][1:]
        self.taken.append(words[0] if step == "root" else step)
        self.words[step] = tuple(words)
        status, text = self.said[step]
        log.write_text("" if text in VERDICTS else text)
        if words[0] == "debootstrap" and status == 0:
            made = Path(words[-2])
            for part in ("etc/apt/apt.conf.d", "var/lib/dpkg/updates", "root"):
                (made / part).mkdir(parents=True)
        if text in VERDICTS:
            assert root
            run = root / folder.lstrip("/") / "build/runs" / {"run-trace": "last"}.get(step, step)
            run.mkdir(parents=True, exist_ok=True)
            (run / "verdict.json").write_text(json.dumps(VERDICTS[text]))
        return status


def take(
    folder: Path,
    script: Script,
    *,
    refresh: bool = False,
    emulated: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    root = Root("trixie", "amd64", folder)
    return Release(root, MIRROR, script, say, lambda into: into.mkdir(exist_ok=True)).outcome(
        Settings(("trixie",), ("make", "quick"), "amd64", MIRROR, refresh, emulated)
    )


def test_a_release_that_passes_everything(tmp_path: Path) -> None:
    script = Script()
    done = take(tmp_path, script)
    assert done.passed
    assert script.taken == ["debootstrap", "run-trace", "flagship", "tests", "versions"]
    assert {step: end.said for step, end in done.steps.items()} == {
        "root": "made",
        "run-trace": "HEALTHY",
        "flagship": "FAULTED, nx-upper-level",
        "tests": "9 passed, 0 failed, 2 skipped",
    }
    assert done.versions == {"gcc": "12.2.0"}
    assert json.loads((tmp_path / "trixie.flagship.json").read_text()) == VERDICTS["flagship"]
    assert (tmp_path / "trixie/etc/apt/sources.list").read_text() == f"deb {MIRROR} trixie main\n"
    assert 'Check-Valid-Until "false"' in (tmp_path / "trixie/etc/apt/apt.conf.d/00releases").read_text()


@pytest.mark.parametrize(("step", "said", "told"), [
    ("root", (1, "E: no such suite"), "debootstrap failed (1)"),
    ("run-trace", (2, "healthy"), "HEALTHY"),
    ("run-trace", (0, "other"), "FAULTED, stack-unmapped"),
    ("run-trace", (0, "slow"), "HEALTHY, not as foreseen"),
    ("run-trace", (2, "make: error"), "no verdict (exit status 2)"),
    ("flagship", (0, "flagship"), "FAULTED, nx-upper-level"),
    ("flagship", (2, "other"), "FAULTED, stack-unmapped"),
    ("flagship", (2, "surprise"), "FAULTED, nx-upper-level, not as foreseen"),
    ("flagship", (2, "healthy"), "HEALTHY"),
    ("flagship", (2, "make: error"), "no verdict (exit status 2)"),
    ("tests", (2, "9 passed, 1 failed in 2.00s\n"), "9 passed, 1 failed, 0 skipped"),
    ("tests", (0, "9 passed, 1 failed in 2.00s\n"), "9 passed, 1 failed, 0 skipped"),
    ("tests", (0, "1 skipped in 2.00s\n"), "0 passed, 0 failed, 1 skipped; then failed (0)"),
    ("tests", (2, "9 passed in 2.00s\n"), "9 passed, 0 failed, 0 skipped; then failed (2)"),
    ("tests", (2, "check: 85 breaches\n"), "ended before any was run (2)"),
    ("tests", (0, "nothing\n"), "ended before any was run (0)"),
])  # fmt: skip
def test_a_step_that_fails_fails_the_release(
    step: str, said: tuple[int, str], told: str, tmp_path: Path
) -> None:
    lines: list[str] = []
    script = Script(**{step: said})
    done = take(tmp_path, script, say=lines.append)
    assert not done.passed
    assert (done.steps[step].passed, done.steps[step].said) == (False, told)
    assert f"trixie: {step} failed: {told}; see {tmp_path}/trixie.{step}.log" in lines
    # A root that cannot be made ends it; anything else is no reason not to try the rest.
    assert script.taken[-1] == ("debootstrap" if step == "root" else "versions")


def test_a_boot_on_an_emulated_machine_gets_more_time(tmp_path: Path) -> None:
    script = Script()
    take(tmp_path, script)
    assert script.words["run-trace"] == ("make", "run-trace")
    take(tmp_path, script, emulated=True)
    assert script.words["run-trace"] == ("make", "run-trace", "TIMEOUT=900")
    assert script.words["flagship"][-1] == "TIMEOUT=900"


def test_a_verdict_from_before_does_not_count(tmp_path: Path) -> None:
    take(tmp_path, Script())
    done = take(tmp_path, Script(**{"run-trace": (2, "make: error")}))
    assert (
        done.steps["run-trace"].said == "HEALTHY"
    ), "the made-up tree is not copied anew, so the file is still there"
    assert not done.steps["run-trace"].passed


def test_a_whole_root_is_used_again_and_refresh_makes_it_anew(tmp_path: Path) -> None:
    assert not take(tmp_path, Script()).reused
    again = Script()
    assert take(tmp_path, again).reused
    assert again.taken[0] == "dpkg"
    anew = Script()
    assert not take(tmp_path, anew, refresh=True).reused
    assert anew.taken[0] == "debootstrap"


def test_a_root_with_half_installed_packages_is_made_anew(tmp_path: Path) -> None:
    take(tmp_path, Script())
    audit = Script(root=(0, "The following packages are only half configured:\n gcc\n"))
    assert not take(tmp_path, audit).reused
    assert audit.taken[:2] == ["dpkg", "debootstrap"]
    (tmp_path / "trixie/var/lib/dpkg/updates/0001").touch()
    broken = Script()
    assert not take(tmp_path, broken).reused
    assert broken.taken[0] == "debootstrap"


def test_a_root_whose_making_was_interrupted_is_not_used(tmp_path: Path) -> None:
    half = tmp_path / "trixie.making"
    (half / "var/lib/dpkg/updates").mkdir(parents=True)
    (half / "left").touch()
    done = take(tmp_path, Script())
    assert not done.reused
    assert not half.exists()
    assert not (tmp_path / "trixie/left").exists()


def test_a_root_of_another_architecture_has_a_name_of_its_own(tmp_path: Path) -> None:
    assert Root("sid", "arm64", tmp_path).path == tmp_path / "sid-arm64"
    assert Root("sid", "arm64", tmp_path).log("tests") == tmp_path / "sid-arm64.tests.log"


def test_a_root_in_which_something_is_mounted_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trixie/dev").mkdir(parents=True)
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"25 1 0:6 / {tmp_path}/trixie/dev rw,relatime shared:2 - devtmpfs udev rw\n")
    monkeypatch.setattr(roots, "_MOUNTS", mounts)
    with pytest.raises(ReleasesError, match=f"^{tmp_path}/trixie/dev is mounted"):
        roots.remove(tmp_path / "trixie")
    assert (tmp_path / "trixie/dev").is_dir()
    roots.remove(tmp_path / "trix")


# --- the tree ----------------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=b", *words], cwd=folder, check=True,
                          capture_output=True, text=True).stdout  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / "scripts").mkdir(parents=True)
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("build/\nignored\n")
    (folder / "scripts/tool").write_text("#!/bin/sh\n")
    (folder / "scripts/tool").chmod(0o755)
    (folder / "gone").touch()
    (folder / "ignored").write_text("but tracked")
    git(folder, "add", "-f", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def test_the_copy_is_the_tree_as_git_sees_it(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "gone").unlink()
    (checkout / "build").mkdir()
    (checkout / "build/root").touch()
    (checkout / "new file\n").write_text("new")
    (checkout / "link").symlink_to("scripts/tool")
    (checkout / "scripts/tool").write_text("#!/bin/sh\necho changed\n")
    into = tmp_path / "root/cr3scope"
    into.mkdir(parents=True)
    (into / "left from before").touch()
    # As in a git hook: these must not lead elsewhere.
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    tree.copy(checkout, tree.listed(checkout), into)
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert sorted(git(into, "ls-files", "-z").split("\0")) == sorted(
        ["", ".gitignore", "ignored", "link", "new file\n", "scripts/tool"]
    )
    assert git(into, "status", "--porcelain") == ""
    assert (into / "scripts/tool").read_text().endswith("changed\n")
    assert os.access(into / "scripts/tool", os.X_OK)
    assert (into / "link").is_symlink()
    assert not (into / "left from before").exists()
