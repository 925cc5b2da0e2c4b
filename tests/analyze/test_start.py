"""What a verdict on a capture does not load: two thirds of its time are imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Of each what needs it: a picture, a form for CI, a guest, a core, a file that is linted, a long source line, a type checker.
ELSEWHERE = (
    "cr3scope.input.photo.picture", "cr3scope.input.photo.reader", "cr3scope.input.photo.stream", "cr3scope.render.ci", "cr3scope.render.html",
    "cr3scope.qemu.guest", "cr3scope.qemu.qmp", "cr3scope.cli.analyze_core", "cr3scope.cli.lint", "cr3scope.input.logs.emulators", "capstone",
    "unicodedata", "rich", "jinja2", "numpy.typing", "asyncio", "xml",
)  # fmt: skip


def _loaded(*words: str | Path) -> tuple[set[str], str]:
    """The modules that one command line loads, and what it prints."""
    told = "import sys; from cr3scope.cli.main import main; main(sys.argv[1:]); sys.stderr.write('\\n'.join(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "scripts/analyze")}
    done = subprocess.run([sys.executable, "-c", told, *words], env=environment, capture_output=True, text=True, check=True)
    return set(done.stderr.split()), done.stdout


def test_a_plain_verdict_loads_nothing_that_it_does_not_use() -> None:
    loaded, said = _loaded("analyze", ROOT / "tests/captures/golden.trace")
    assert "HEALTHY" in said or "WILL FAULT" in said or "INCOMPLETE" in said
    assert not {one for one in loaded if one.startswith(ELSEWHERE)}
