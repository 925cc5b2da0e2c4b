"""A verb that another cr3scope has started, for an agent's call: it ends with that one."""

from __future__ import annotations

import sys

from cr3scope.cli.main import main
from cr3scope.qemu.brood import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    sys.exit(main())
