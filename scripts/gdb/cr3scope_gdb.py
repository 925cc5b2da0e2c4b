"""The `cr3scope` commands of gdb: `source scripts/gdb/cr3scope_gdb.py`, then `help cr3scope`."""

import importlib.util
import sys
from pathlib import Path

import gdb

_HERE = Path(__file__).resolve().parent


def _load() -> None:
    # Never scripts/ itself: `import gdb` would then find scripts/gdb as a namespace package.
    for folder in (_HERE, _HERE.parent / "analyze"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    for module in ("numpy", "capstone", "cr3scope"):
        if importlib.util.find_spec(module) is None:
            version = ".".join(map(str, sys.version_info[:2]))
            # A sourced script that raises GdbError prints a traceback (gdb 13).
            gdb.write(f"cr3scope: gdb's Python {version} has no module {module}\n", gdb.STDERR)
            return
    from cr3scope_commands import register

    register()


_load()
