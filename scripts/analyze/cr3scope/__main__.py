"""``python3 -m cr3scope``."""

from __future__ import annotations

import sys

from cr3scope.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
