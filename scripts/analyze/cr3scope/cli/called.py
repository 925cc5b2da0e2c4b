"""A verb that another cr3scope has started, for an agent's call: it ends with that one.

Its words are the roots, ``--``, and the command line.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cr3scope.cli.main import main
from cr3scope.images.source_text import keep_below
from cr3scope.qemu.brood import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    end = sys.argv.index("--")
    keep_below([Path(root) for root in sys.argv[1:end]])
    sys.exit(main(sys.argv[end + 1 :]))
