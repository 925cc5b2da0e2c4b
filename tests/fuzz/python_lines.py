"""How many lines of its parsers a Python fuzzer reaches, as python3-coverage counts them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from fuzz.target import Target
from fuzz.worker import PACKAGE, ROOT, environment, target_of

_SECONDS = 120.0


def count_lines(name: str, first: int, count: int, folder: Path) -> tuple[int, int]:
    """Run some inputs again, with their lines counted; return how many were reached, and of how many.

    (0, 0) where python3-coverage is not installed, and of a fuzzer that tries a judgement and no parser.
    """
    if importlib.util.find_spec("coverage") is None or count == 0 or not target_of(name).parsers:
        return 0, 0
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"{name}.coverage").absolute()
    command = [sys.executable, "-m", "coverage", "run", f"--data-file={file}", f"--include={PACKAGE}/*", "-m", "fuzz.worker"]
    command += [name, str(first), str(count), str(_SECONDS), str(folder / "counted")]
    subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=4 * _SECONDS)
    if not file.exists():
        return 0, 0
    from coverage import Coverage

    counted = Coverage(data_file=str(file))
    counted.load()
    reached = total = 0
    for path in files_of(target_of(name)):
        _, statements, _, missing, _ = counted.analysis2(str(path))
        reached, total = reached + len(statements) - len(missing), total + len(statements)
    return reached, total


def files_of(target: Target) -> Iterator[Path]:
    """Yield the files of its parsers."""
    for part in target.parsers:
        path = PACKAGE / part
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]
