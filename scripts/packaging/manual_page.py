"""Writes the manual page, `cr3scope.1`, from the parser of the command line, by argparse-manpage (`make man`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/analyze"))

from cr3scope.cli.main import EPILOG  # noqa: E402

_TOOL = "argparse-manpage"
_NAME = ".SH NAME\ncr3scope"
# What the tool leaves out: what the command is, by which `apropos` finds it, and its exit status.
_SAYS = r"tells why a kernel dies at `mov cr3', before the switch"
_TAIL = """\
.SH EXIT STATUS
{status}
.SH SEE ALSO
.BR gdb (1),
.BR qemu\\-system\\-x86_64 (1)
"""


def main() -> int:
    """Write the page to the file that is named; return 0, or 2 where the tool is missing."""
    if shutil.which(_TOOL) is None:
        print(f"man: {_TOOL} is not installed (Debian: python3-argparse-manpage; make deps-deb)", file=sys.stderr)
        return 2
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page())
    return 0


def page() -> str:
    """Return the page, as wide as a terminal of 80 columns wherever it is made."""
    done = subprocess.run(
        [_TOOL, "--module", "cr3scope.cli.main", "--function", "whole_parser", "--project-name", "cr3scope"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts/analyze"), "COLUMNS": "80"},
    )  # fmt: skip
    status = EPILOG.partition(":")[2].strip().replace("; ", ";\n")
    text = done.stdout.replace(_NAME, f"{_NAME} \\- {_SAYS}", 1)
    # Version 1 of the tool ends with an empty list of authors.
    return text.partition("\n.SH AUTHOR")[0].rstrip() + "\n" + _TAIL.format(status=status)


if __name__ == "__main__":
    sys.exit(main())
