"""Columns of numbers to lines of text, all rows at once: a list may have millions of rows.

A block is a matrix of bytes with one line a row, so each cell has the same width in all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Cells = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

BLOCK_ROWS = 1 << 13  # so many lines stay in a CPU's cache while they are put together

_DIGITS = 16
_PAIRS = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), dtype=np.uint16)
_BOUNDS = np.array([1 << 4 * digits for digits in range(1, _DIGITS)], dtype=np.uint64)
_PREFIX = np.frombuffer(b'"0x', dtype=np.uint8)
_SPACE, _QUOTE = b' "'


def blocks(rows: int) -> Iterator[slice]:
    """The rows in portions."""
    for start in range(0, rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, rows))


def hex_digits(column: U64) -> Cells:
    """16 hex digits each, with leading zeros."""
    in_order = column.astype(">u8").view(np.uint8)
    return _PAIRS[in_order].view(np.uint8).reshape(-1, _DIGITS)


def quoted_hex(column: U64) -> Cells:
    """``"0x1000"`` with the quotation marks, right-aligned, without leading zeros."""
    width = _DIGITS + len(_PREFIX) + 1
    cells = np.full((len(column), width), _SPACE, dtype=np.uint8)
    cells[:, len(_PREFIX) : -1] = hex_digits(column)
    cells[:, -1] = _QUOTE
    counts = np.searchsorted(_BOUNDS, column, side="right") + 1
    for count in np.unique(counts).tolist():
        rows = np.flatnonzero(counts == count)
        # In a list ordered by address most rows of a length stand together: a slice is quicker.
        together = int(rows[-1]) - int(rows[0]) + 1 == len(rows)
        which = slice(int(rows[0]), int(rows[-1]) + 1) if together else rows
        first = _DIGITS - count
        cells[which, :first] = _SPACE
        cells[which, first : first + len(_PREFIX)] = _PREFIX
    return cells


def choices(texts: Sequence[str]) -> Cells:
    """A matrix to index with a column of numbers: the text of each number, padded to one width."""
    width = max(map(len, texts))
    padded = "".join(text.ljust(width) for text in texts).encode("ascii")
    return np.frombuffer(padded, dtype=np.uint8).reshape(len(texts), width)


def lines(cells: Sequence[Cells | str], rows: int) -> str:
    """Cells and the constant text between them, put side by side."""
    parts = [
        np.frombuffer(cell.encode("ascii"), dtype=np.uint8) if isinstance(cell, str) else cell
        for cell in cells
    ]
    block = np.empty((rows, sum(part.shape[-1] for part in parts)), dtype=np.uint8)
    at = 0
    for part in parts:
        block[:, at : at + part.shape[-1]] = part
        at += part.shape[-1]
    return block.tobytes().decode("ascii")
