"""A verb that another cr3scope has started, for an agent's call: it ends with that one.

Its words are the number of that one's process, the call's folder, the roots, ``--``, and the command line.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from cr3scope.cli.main import main
from cr3scope.images.source_text import keep_below
from cr3scope.qemu.brood import end_with_parent


def _answer(server: int, words: list[str]) -> int:
    end_with_parent()
    if os.getppid() != server:  # it was gone before it could be told of
        return 0
    end = words.index("--")
    keep_below([Path(root) for root in words[:end]])
    return main(words[end + 1 :])


def _answer_or_clear(server: int, folder: str, *words: str) -> int:
    """The exit status. Who was killed outright has left the folder to us."""
    try:
        return _answer(server, list(words))
    finally:
        if os.getppid() != server:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(_answer_or_clear(int(sys.argv[1]), *sys.argv[2:]))
