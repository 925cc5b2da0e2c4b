"""Calls in code that is only looked at, by their bytes: E8h and the distance (Intel SDM volume 2A, CALL)."""

from __future__ import annotations

import numpy as np

_CALL, _BYTES = 0xE8, 5


def calls_to(start: int, code: bytes, target: int) -> int:
    """Return how many near calls in the code at ``start`` go to an address.

    Bytes of another instruction may look like one, but hardly with just this distance.
    """
    data = np.frombuffer(code, np.uint8)
    if len(data) < _BYTES:
        return 0
    at = np.flatnonzero(data[: len(data) - _BYTES + 1] == _CALL)
    words = [data[at + 1 + byte].astype(np.int64) << 8 * byte for byte in range(4)]
    distance = (words[0] | words[1] | words[2] | words[3]).astype(np.int64)
    signed = np.where(distance >= 1 << 31, distance - (1 << 32), distance)
    wanted = target - start - _BYTES
    return int(np.count_nonzero(at + signed == wanted)) if -(1 << 62) < wanted < 1 << 62 else 0
