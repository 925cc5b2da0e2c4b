"""What the first decoded instruction costs: capstone, and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from boot.reference import ROOT

DECODES = """import sys
from cr3scope.x86.decode.instruction import decode, text
print(text(decode(b"\\xf4", 0)))
print([name for name in ("setuptools", "pkg_resources") if name in sys.modules])
"""
# A capstone that needs what only setuptools has (Python 3.12 has no distutils).
NEEDY = """import distutils_of_old
Cs, CS_ARCH_X86, CS_MODE_64, CS_MODE_32, CS_MODE_16 = (lambda *_: distutils_of_old), 3, 8, 4, 2
"""
NEEDED = """import importlib.machinery, sys, types
class Finder:
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "distutils_of_old" else None
    def create_module(self, spec):
        made = types.ModuleType("distutils_of_old")
        made.disasm = lambda *_: iter(())
        return made
    def exec_module(self, module):
        pass
Finder.__module__ = "_distutils_hack"
sys.meta_path.insert(0, finder := Finder())
from cr3scope.x86.decode.instruction import decode
print(decode(b"\\xf4", 0), sys.meta_path[0] is finder)
"""


def told(script: str, *paths: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60,
        env={"PYTHONPATH": ":".join(map(str, (*paths, ROOT / "scripts/analyze")))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_to_decode_brings_nothing_of_setuptools() -> None:
    assert told(DECODES) == "hlt\n[]\n"


def test_a_capstone_that_needs_setuptools_gets_it(tmp_path: Path) -> None:
    (tmp_path / "capstone.py").write_text(NEEDY)
    assert told(NEEDED, tmp_path) == "None True\n"
