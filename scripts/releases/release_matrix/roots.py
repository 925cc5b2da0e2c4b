"""A release's root: made by debootstrap with only what a new user has, kept for the next time."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from release_matrix.errors import ReleasesError

# What somebody has who is about to type the README's first command.
INCLUDED = "make,git,ca-certificates"
# An index that is a little out of date is no reason to fail; a mirror that stumbles is asked again.
_APT = 'Acquire::Check-Valid-Until "false";\nAcquire::Retries "3";\n'
_MOUNTS = Path("/proc/self/mountinfo")


class Runner(Protocol):
    """Run words, in a root or not, and return their exit status: isolated.run, and what tests put in its place."""

    def __call__(
        self,
        words: Sequence[str],
        log: Path,
        root: Path | None = None,
        cache: Path | None = None,
        folder: str = "/",
    ) -> int:
        ...


@dataclass(frozen=True, slots=True)
class Root:
    """Name one release's root, and the folder that takes downloaded packages."""

    suite: str
    arch: str
    folder: Path

    @property
    def name(self) -> str:
        """Return what the root, its logs and its column are called."""
        return self.suite if self.arch == "amd64" else f"{self.suite}-{self.arch}"

    @property
    def path(self) -> Path:
        """Return where the root lies once it is whole."""
        return self.folder / self.name

    @property
    def cache(self) -> Path:
        """Return the folder of downloaded packages, which all roots share."""
        return self.folder / "cache"

    def log(self, step: str) -> Path:
        """Return where a step's output goes."""
        return self.folder / f"{self.name}.{step}.log"

    def run(self, runner: Runner, words: Sequence[str], log: str, folder: str = "/") -> int:
        """Return the exit status of words that run inside the root."""
        return runner(words, self.log(log), root=self.path, cache=self.cache, folder=folder)

    def usable(self, runner: Runner) -> bool:
        """Tell whether the root is there and whole: no package was left half installed."""
        if not self.path.is_dir():
            return False
        updates = self.path / "var/lib/dpkg/updates"
        if not updates.is_dir() or any(updates.iterdir()):
            return False
        status = self.run(runner, ("dpkg", "--audit"), "root")
        return status == 0 and not self.log("root").read_text().strip()

    def make(self, runner: Runner, mirror: str) -> int:
        """Return debootstrap's exit status. The root takes its name once it is whole, and not before."""
        making = self.path.with_name(f"{self.name}.making")
        remove(making)
        remove(self.path)
        self.cache.mkdir(parents=True, exist_ok=True)
        status = runner(
            ("debootstrap", "--variant=minbase", f"--arch={self.arch}", f"--include={INCLUDED}",
             f"--cache-dir={self.cache}", self.suite, str(making), mirror), self.log("root"),
        )  # fmt: skip
        if status == 0:
            making.rename(self.path)
        return status

    def configure(self, mirror: str) -> None:
        """Tell the root where packages come from, and how this machine finds names."""
        (self.path / "etc/apt/sources.list").write_text(f"deb {mirror} {self.suite} main\n")
        (self.path / "etc/apt/apt.conf.d/00releases").write_text(_APT)
        for name in ("resolv.conf", "hosts"):
            if Path("/etc", name).exists():
                (self.path / "etc" / name).unlink(missing_ok=True)
                shutil.copyfile(Path("/etc", name), self.path / "etc" / name)


def remove(path: Path) -> None:
    """Remove a root, whole or half-made; raise ReleasesError if something is mounted in it: that is not ours."""
    inside = [line.split()[4] for line in _MOUNTS.read_text().splitlines()]
    mounted = [point for point in inside if Path(point).is_relative_to(path.resolve())]
    if mounted:
        raise ReleasesError(f"{mounted[0]} is mounted, so the root is not removed: umount it first")
    if path.exists():
        shutil.rmtree(path)
