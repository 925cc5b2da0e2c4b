"""`python -m release_matrix FOLDER`: makes the roots in FOLDER, prints the table, exits 0 only if all passed."""

from __future__ import annotations

import fcntl
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from release_matrix import agreement, isolated, mirror, outcome, settings, table, tree
from release_matrix.errors import ReleasesError
from release_matrix.release import Release
from release_matrix.roots import Root

TREE = Path(__file__).resolve().parents[3]
# debootstrap lies there, where a root's own PATH may not lead.
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
UNUSABLE = 2
INTERRUPTED = 130


def main(words: Sequence[str]) -> int:
    """Return the exit status: 0 if every release passed everything, 1 if not, 2 if it could not begin."""
    try:
        return _matrix(Path(words[0] if words else "build/releases").resolve())
    except ReleasesError as error:
        print(f"releases: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        print(
            "releases: interrupted; whole roots are kept, half-made ones are not used again", file=sys.stderr
        )
        return INTERRUPTED


def _matrix(folder: Path) -> int:
    asked = settings.read(os.environ, TREE, os.uname().machine)
    if os.geteuid() != 0:
        raise ReleasesError("making a release's root needs root: sudo make releases")
    names = tree.listed(TREE)
    os.environ["PATH"] += f":{SBIN}"
    if subprocess.run(
        [TREE / "scripts/boot/deps", "releases"], check=False, stdin=subprocess.DEVNULL
    ).returncode:
        return UNUSABLE  # deps said in its line what to run
    isolated.check()
    _check_asked(asked)
    source = asked.mirror or mirror.of_this_machine()
    folder.mkdir(parents=True, exist_ok=True)
    say = _progress(time.monotonic())
    outcomes = []
    with _alone(folder):
        for suite in asked.suites:
            release = Release(
                Root(suite, asked.arch, folder),
                source,
                isolated.run,
                say,
                functools.partial(tree.copy, TREE, names),
            )
            outcomes.append(release.outcome(asked))
        agreement.compare(outcomes, folder)
        text = table.render(outcomes, asked.tests_title)
        (folder / "table.md").write_text(text)
    print(text, end="")
    print(table.failures(outcomes), end="", file=sys.stderr)
    return outcome.exit_status(outcomes)


def _check_asked(asked: settings.Settings) -> None:
    """Raise ReleasesError if debootstrap does not know a suite, or this machine cannot run the architecture."""
    scripts = Path(os.environ.get("DEBOOTSTRAP_DIR", "/usr/share/debootstrap"), "scripts")
    for suite in asked.suites:
        if not (scripts / suite).exists():
            raise ReleasesError(f"SUITES: debootstrap knows no release named {suite}")
    kind = settings.ARCHES[asked.arch]
    if asked.emulated and not emulated(kind, Path("/proc/sys/fs/binfmt_misc")):
        raise ReleasesError(f"ARCH={asked.arch} needs qemu-{kind} registered with binfmt_misc for programs in a root: "
                            "apt-get install qemu-user-static binfmt-support")  # fmt: skip


def emulated(kind: str, registered: Path) -> bool:
    """Tell whether the kernel runs programs of that architecture inside a root too (flag F: by an emulator outside it)."""
    try:
        lines = (registered / f"qemu-{kind}").read_text().splitlines()
    except OSError:
        return False
    return "enabled" in lines and any(
        line.startswith("flags:") and "F" in line.removeprefix("flags:") for line in lines
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; raise ReleasesError if another one does."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReleasesError(f"another make releases is at work in {folder}") from None
        yield


def _progress(began: float) -> Callable[[str], None]:
    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    return say
