"""What builds a wheel (`pip install .`): setuptools, with the files that are no modules, and no traces of the build in the tree.

`pyproject.toml` names this module and its commands. A `setup.py` would have to lie on top of the tree.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from setuptools.command.build import build
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "scripts/analyze")]

from cr3scope import __version__  # noqa: E402
from cr3scope.places import FOLDER, SHIPPED, Files  # noqa: E402
from single_header import header  # noqa: E402

__all__ = (
    "build_editable", "build_sdist", "build_wheel", "get_requires_for_build_editable", "get_requires_for_build_sdist",
    "get_requires_for_build_wheel", "prepare_metadata_for_build_editable", "prepare_metadata_for_build_wheel",
)  # fmt: skip


@cache
def work() -> str:
    """Return the folder of this build: in the tree it would leave modules of earlier builds, and could not be read-only."""
    folder = tempfile.mkdtemp(prefix="cr3scope-build-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class Build(build):
    """Builds outside the tree."""

    def initialize_options(self) -> None:
        """Choose the folder, as setuptools asks for it."""
        super().initialize_options()
        self.build_base = work()


class EggInfo(egg_info):
    """Writes its notes outside the tree."""

    def initialize_options(self) -> None:
        """Choose the folder, as setuptools asks for it."""
        super().initialize_options()
        self.egg_base = work()


class BuildPy(build_py):
    """Puts what `cr3scope/places.py` lists beside the modules; of an editable install it lies in the checkout."""

    def run(self) -> None:
        """Build the modules, then copy the other files."""
        super().run()
        if getattr(self, "editable_mode", False):
            return
        target = Path(self.build_lib, "cr3scope", FOLDER)
        for name, shipped in SHIPPED.items():
            if name is Files.HEADER:
                _write(target / name.value / shipped.main, header(__version__, _letters()))
                continue
            folder = ROOT / shipped.source
            for path in sorted({path for pattern in shipped.patterns for path in folder.glob(pattern)}):
                if path.is_file():
                    _write(target / name.value / path.relative_to(folder), path.read_text(encoding="utf-8"))


def _letters() -> Path:
    """The letters for a screen, of this machine's console font; without one a screen that is asked for is refused by the compiler."""
    font = Path(work(), "screen_font.h")
    done = subprocess.run([sys.executable, str(ROOT / "scripts/boot/screen_font.py"), str(font)], capture_output=True, text=True)
    if done.returncode:
        print(f"cr3scope: the header is made without a screen: {done.stderr.strip()}", file=sys.stderr)
        font.write_text('#error "made without a console font: CR3SCOPE_SCREEN needs one"\n')
    return font


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
