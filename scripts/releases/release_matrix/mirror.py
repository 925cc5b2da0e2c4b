"""Where packages come from: the mirror that the machine's own apt uses."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from release_matrix.errors import ReleasesError

_TARGETS = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"


def of_this_machine() -> str:
    """Return the mirror that apt's sources name; raise ReleasesError if there is none."""
    targets = ""
    if shutil.which("apt-get"):
        # The origin is known only of an index that was read; without it the sources alone tell.
        for words in ((), ("--no-release-info",)):
            targets += subprocess.run(
                ["apt-get", "indextargets", *words, "--format", _TARGETS],
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            ).stdout
    mirror = choose(targets, lambda path: Path(path).read_text())
    if mirror is None:
        raise ReleasesError("no mirror of Debian in apt's sources: MIRROR=http://... names one")
    return mirror


def choose(targets: str, read_file: Callable[[str], str]) -> str | None:
    """Return the address of Debian's archive among apt's index targets, lines of URI|RELEASE|COMPONENT|ORIGIN.

    An index that says it is Debian's comes before an address that looks like it. `mirror+file:` is a file of
    addresses. None if nothing fits.
    """
    likely = []
    for line in targets.splitlines():
        uri, release, component, origin = (line.split("|") + [""] * 4)[:4]
        # bookworm-security and bookworm-updates are not the archive; others have components of their own.
        if component != "main" or "-" in release:
            continue
        address = _address(uri, read_file)
        if address and origin == "Debian":
            return address
        if address and address.endswith("/debian"):
            likely.append(address)
    return likely[0] if likely else None


def _address(uri: str, read_file: Callable[[str], str]) -> str | None:
    """Return an address that debootstrap can read as well, without a slash at its end, or None."""
    if uri.startswith("mirror+file:"):
        try:
            lines = read_file("/" + uri.removeprefix("mirror+file:").strip("/")).split("\n")
        except OSError:
            return None
        uri = next((line.split()[0] for line in lines if line.strip() and not line.startswith("#")), "")
    return uri.rstrip("/") if uri.startswith(("http://", "https://")) else None
