"""Where the files lie that come with cr3scope and are no modules of it: in a checkout, or beside an installed package.

`scripts/packaging/build_backend.py` puts them into a wheel by the same list.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput

PACKAGE = Path(__file__).resolve().parent
FOLDER = "shipped"  # of the package, where it is installed


@dataclass(frozen=True, slots=True)
class Shipped:
    """A folder or file: where a checkout has it, which files of it are shipped, and what they are for."""

    source: str
    patterns: tuple[str, ...]
    words: str
    main: str = ""  # the file that is named to others, "" for the folder itself


class Files(Enum):
    """What is shipped; the values are what a user calls it."""

    GDB = "gdb"
    PLUGIN = "plugin"
    HEADER = "header"
    EXAMPLES = "examples"
    SCHEMAS = "schemas"


GDB_SCRIPT = "cr3scope_gdb.py"
HEADER_FILE = "cr3scope.h"
SHIPPED = {
    Files.GDB: Shipped("scripts/gdb", (GDB_SCRIPT, "cr3scope_commands/*.py"), "the commands of gdb (`cr3scope gdb-init`)", GDB_SCRIPT),
    Files.PLUGIN: Shipped("scripts/qemu_plugin", ("*.c", "*.h"), "the source of QEMU's plugin, built by `run --who`"),
    Files.HEADER: Shipped("build", (HEADER_FILE,), "the library as one file, for your loader or kernel", HEADER_FILE),
    Files.EXAMPLES: Shipped("trace/examples", ("*.h", "*/*"), "loaders and kernels that use it: Multiboot, Limine, PE, gnu-efi"),
    Files.SCHEMAS: Shipped("docs/schema", ("*.json",), "JSON Schemas of what `--json` writes"),
}


def is_checkout() -> bool:
    """Return whether the package runs from a checkout, and not from where it was installed."""
    return not (PACKAGE / FOLDER).is_dir()


def place_of(files: Files) -> Path:
    """Return where the folder or file lies, or would lie: whether it is there is for the caller to see."""
    shipped = SHIPPED[files]
    root = PACKAGE.parent.parent.parent / shipped.source if is_checkout() else PACKAGE / FOLDER / files.value
    return root / shipped.main


def present(files: Files) -> Path:
    """Return where the folder or file lies; UnusableInput, with what would bring it, if it is not there."""
    path = place_of(files)
    if path.exists():
        return path
    mend = "`make single-header` writes it" if files is Files.HEADER and is_checkout() else "install cr3scope anew"
    raise UnusableInput(f"{path}: not there: {mend}")
