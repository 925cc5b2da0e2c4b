"""The working tree as git sees it, copied into a root as a repository of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from release_matrix.errors import ReleasesError

_IDENTITY = ("user.name=cr3scope", "user.email=releases@localhost", "commit.gpgsign=false", "core.hooksPath=/dev/null",
             "core.autocrlf=false", "init.defaultBranch=main")  # fmt: skip


def listed(tree: Path) -> tuple[str, ...]:
    """Return the files that are tracked, or new and not ignored; raise ReleasesError if `tree` is no git checkout."""
    done = _git(tree, "ls-files", "-z", "--cached", "--others", "--exclude-standard", check=False)
    if done.returncode:
        raise ReleasesError(f"{tree} is not a git checkout: {done.stderr.strip().splitlines()[-1]}")
    return tuple(sorted({name for name in done.stdout.split("\0") if name}))


def copy(tree: Path, names: Sequence[str], into: Path) -> None:
    """Make `into` anew from the named files, and commit them there: scripts/check.py asks git what there is."""
    shutil.rmtree(into, ignore_errors=True)
    for name in names:
        source, target = tree / name, into / name
        if source.is_symlink() or source.is_file():  # else deleted here, or a repository inside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    _git(into, "init", "--quiet", own=True)
    _git(into, "add", "--all", "--force", own=True)
    _git(into, "commit", "--quiet", "--message", "the tree as it is tried", own=True)


def _git(
    folder: Path, *words: str, own: bool = False, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run git in `folder`; `own`: untouched by anyone's configuration."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings = ["safe.directory=*"]
    if own:
        environment |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        settings += _IDENTITY
    return subprocess.run(
        ["git", *(word for setting in settings for word in ("-c", setting)), "-C", str(folder), *words],
        env=environment,
        capture_output=True,
        text=True,
        check=check,
        stdin=subprocess.DEVNULL,
    )
