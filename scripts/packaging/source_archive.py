"""Writes the tree as one archive, the same bytes each time (`make dist`): of what git tracks, or of a copy without git all of it."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_NOT_SOURCES = {"build", "__pycache__", ".git", ".hypothesis", ".pytest_cache", ".mypy_cache", ".pybuild"}
_CHANGELOG = "debian/changelog"
_FILE_MODE, _PROGRAM_MODE = 0o644, 0o755


def main() -> int:
    """Write the archive to the path that is named, below a folder of its name; return 0."""
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(archive(target.name.removesuffix(".tar.gz"), ROOT, sources(ROOT), moment(ROOT)))
    return 0


def sources(root: Path) -> list[Path]:
    """Return the files of the tree, relative to it, in the order of their names."""
    if (root / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
        found = (Path(name) for name in listed if name)
    else:
        found = (path.relative_to(root) for path in root.rglob("*"))
    return sorted(path for path in found if not set(path.parts) & _NOT_SOURCES and (root / path).is_file())


def moment(root: Path) -> int:
    """Return the time that all files get: SOURCE_DATE_EPOCH, or that of the release by debian/changelog."""
    told = os.environ.get("SOURCE_DATE_EPOCH", "")
    if told.isdigit():
        return int(told)
    last = next(line for line in (root / _CHANGELOG).read_text().split("\n") if line.startswith(" -- "))
    return int(parsedate_to_datetime(last.partition(">")[2].strip()).timestamp())


def archive(name: str, root: Path, files: Iterable[Path], when: int) -> bytes:
    """Return the archive of these files: no owner, no time of their own, of the modes only whether they are programs."""
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=when) as zipped, tarfile.open(mode="w", fileobj=zipped) as tar:
        for path in files:
            data = (root / path).read_bytes()
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mtime = len(data), when
            entry.mode = _PROGRAM_MODE if os.access(root / path, os.X_OK) else _FILE_MODE
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


if __name__ == "__main__":
    sys.exit(main())
