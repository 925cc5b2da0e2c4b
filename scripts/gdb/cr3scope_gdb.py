"""The `cr3scope` commands of gdb: `source scripts/gdb/cr3scope_gdb.py`, then `help cr3scope`."""

import importlib.util
import sys
from pathlib import Path

import gdb

_HERE = Path(__file__).resolve().parent


def _package(folder: Path) -> None:
    """Make `cr3scope` importable, and nothing that lies beside it.

    Beside an installed one lie libraries of its own Python. What of them gdb's lacks it may have, if it is the same version.
    """
    where = str(folder)
    spec = importlib.util.spec_from_file_location("cr3scope", f"{where}/__init__.py", submodule_search_locations=[where])
    module = importlib.util.module_from_spec(spec)
    sys.modules["cr3scope"] = module
    spec.loader.exec_module(module)
    beside = folder.parent
    if beside.parent.name == "python%d.%d" % sys.version_info[:2] and str(beside) not in sys.path:
        sys.path.append(str(beside))


def _load() -> None:
    # Never scripts/ itself: `import gdb` would then find scripts/gdb as a namespace package.
    if str(_HERE) not in sys.path:
        sys.path.insert(0, str(_HERE))
    checkout, installed = _HERE.parent / "analyze/cr3scope", _HERE.parent.parent
    if "cr3scope" not in sys.modules:
        package = checkout if checkout.is_dir() else installed
        if not (package / "places.py").is_file():  # a copy, as of `cr3scope files gdb -o DIR`
            gdb.write(f"cr3scope: {_HERE}: no cr3scope beside the commands: `cr3scope gdb-init` prints the line that loads them\n", gdb.STDERR)
            return  # an exception of a script is a traceback to gdb, whatever its class
        _package(package)
    from cr3scope_commands import register

    register()


_load()
