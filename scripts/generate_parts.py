"""`make docs`: writes the table of the Python package's parts in docs/design.md.

Usage: generate_parts.py DESIGN.md. The list is that of scripts/parts.py, which `make check` holds the imports to.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from parts import PARTS  # noqa: E402

BEGIN, END = "<!-- parts: made by `make docs` from scripts/parts.py -->\n", "<!-- end of parts -->\n"


def table() -> str:
    """Return the table, from the ground up."""
    rows = "".join(f"| `{name}/` | {job} |\n" for name, job in PARTS)
    return f"| part | its one job |\n|---|---|\n{rows}"


def main() -> int:
    """Replace what stands between the two marks."""
    page = Path(sys.argv[1])
    head, _, rest = page.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}{table()}{END}{tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
