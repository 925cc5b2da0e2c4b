"""Commands in namespaces of their own: whatever ends this program ends them too, and takes their mounts down."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from release_matrix.errors import ReleasesError

ENTER = Path(__file__).resolve().parent.parent / "enter"
# setpriv: also where this program is killed without a word. unshare: process 1 dies with it, and so do all others.
_NAMESPACES = ("setpriv", "--pdeathsig", "KILL", "--",
               "unshare", "--mount", "--pid", "--fork", "--kill-child", "--")  # fmt: skip
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
# A step that takes longer hangs; `make test` under user emulation takes longest.
STEP_SECONDS = 4 * 3600
TOO_LONG = 124


def check() -> None:
    """Raise ReleasesError if this machine does not let its root make namespaces, as most containers do not."""
    try:
        done = subprocess.run(
            [*_NAMESPACES, "true"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError as error:
        raise ReleasesError(f"{error.filename} is not installed: it comes with util-linux") from None
    if done.returncode:
        raise ReleasesError(f"no namespaces of mounts and processes here: {done.stderr.strip()}")


def run(
    words: Sequence[str], log: Path, root: Path | None = None, cache: Path | None = None, folder: str = "/"
) -> int:
    """Return the exit status of a command whose output goes to `log`; TOO_LONG after STEP_SECONDS.

    With `root` it runs inside that root, in its `folder`, and apt keeps its packages in `cache`. It has no
    terminal, no input, and of this program's environment only the proxies.
    """
    inside = [] if root is None else [str(ENTER), str(root), str(cache), folder]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_NAMESPACES, *inside, *words], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env=_environment(), cwd="/", start_new_session=True, umask=0o022,
        )  # fmt: skip
        try:
            return process.wait(STEP_SECONDS)
        except subprocess.TimeoutExpired:
            output.write(f"\nended after {STEP_SECONDS} seconds\n".encode())
            return TOO_LONG
        finally:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    proxies = {
        name: os.environ[name] for name in (*_PROXIES, *map(str.upper, _PROXIES)) if name in os.environ
    }
    # -rs: the log has the reason of each test that is skipped.
    return {
        **proxies,
        "PATH": _PATH,
        "HOME": "/root",
        "USER": "root",
        "LOGNAME": "root",
        "SHELL": "/bin/sh",
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        "PYTEST_ADDOPTS": "-rs",
    }
