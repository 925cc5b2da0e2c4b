"""Writes page tables that map a million pages of 4 KiB of which no two merge.

million_pages.py FILE BASE: BASE, in hex, is the physical address at which the file will lie in
memory; the root, of four levels, comes first.
"""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

PAGES = 1_000_000
ENTRIES = 512
PAGE_BYTES = 4096
LEVELS = 4
FIRST_FRAME = 1 << 20
PRESENT_WRITABLE = 3
SEED = 1


def tables(base: int) -> npt.NDArray[np.uint64]:
    """The tables of all levels, from the root."""
    counts = [-(-PAGES // ENTRIES**level) for level in range(LEVELS, 0, -1)]
    # Every second frame, in no order: so no frame goes on where the one before it ends.
    frames = FIRST_FRAME + 2 * np.random.default_rng(SEED).permutation(PAGES)
    starts = np.cumsum([0, *counts])
    targets = [start + np.arange(count) for start, count in zip(starts[1:], counts[1:])]
    made = np.zeros((starts[-1], ENTRIES), dtype=np.uint64)
    for start, count, target, at in zip(starts, counts, [*targets, frames], [base] * 3 + [0]):
        entries = made[start : start + count].reshape(-1)
        entries[: len(target)] = target * PAGE_BYTES + at | PRESENT_WRITABLE
    return made


if __name__ == "__main__":
    tables(int(sys.argv[2], 16)).tofile(sys.argv[1])
