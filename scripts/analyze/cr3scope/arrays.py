"""Bytes of a file, and Python's numbers out of numpy columns.

The type of ``tolist`` depends on how many dimensions an array has, and the type of a column
(``NDArray``) does not say that it has one. Said here once, for every version of numpy's types.
"""

from __future__ import annotations

import importlib
import mmap
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

if TYPE_CHECKING:  # a gdb whose Python has no numpy judges with less
    import numpy as np
    import numpy.typing as npt

# Columns. Words for mypy alone: numpy.typing is dear to import.
U64: TypeAlias = "npt.NDArray[np.uint64]"
I64: TypeAlias = "npt.NDArray[np.int64]"
Mask: TypeAlias = "npt.NDArray[np.bool_]"

Data = bytes | mmap.mmap  # of a file, which may be mapped and not read


@cache
def has_numpy() -> bool:
    """Return whether this Python has numpy, in a form that it can load."""
    try:
        importlib.import_module("numpy")
    except ImportError:
        return False
    return True


def integers(column: npt.NDArray[np.integer[Any]]) -> list[int]:
    """Return the numbers of a column: far faster to loop over than the column itself."""
    return cast("list[int]", column.tolist())


def booleans(column: npt.NDArray[np.bool_]) -> list[bool]:
    """Return the truth values of a column, as :func:`integers` returns numbers."""
    return cast("list[bool]", column.tolist())
