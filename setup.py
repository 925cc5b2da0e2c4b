"""What `pip install .` needs beyond pyproject.toml: the files that are no modules, and no traces of the build in the tree."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "scripts/analyze")]

from cr3scope import __version__  # noqa: E402
from cr3scope.places import FOLDER, SHIPPED, Files  # noqa: E402
from single_header import header  # noqa: E402


class BuildWithFiles(build_py):
    """Puts what `cr3scope/places.py` lists beside the modules; of an editable install it lies in the checkout."""

    def run(self) -> None:
        """Build the modules, then copy the other files."""
        super().run()
        if getattr(self, "editable_mode", False):
            return
        target = Path(self.build_lib, "cr3scope", FOLDER)
        for name, shipped in SHIPPED.items():
            if name is Files.HEADER:
                self._write(target / name.value / shipped.main, header(__version__))
                continue
            folder = ROOT / shipped.source
            for path in sorted({path for pattern in shipped.patterns for path in folder.glob(pattern)}):
                if path.is_file():
                    self._write(target / name.value / path.relative_to(folder), path.read_text())

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# A build in the tree would leave build/lib there, with modules of earlier builds, and fail where the tree is read-only.
WORK = tempfile.mkdtemp(prefix="cr3scope-build-")
atexit.register(shutil.rmtree, WORK, ignore_errors=True)
setup(
    cmdclass={"build_py": BuildWithFiles},
    options={"build": {"build_base": WORK}, "egg_info": {"egg_base": WORK}},
)
