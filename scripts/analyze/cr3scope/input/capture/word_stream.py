"""Varints and run-coded words: what dump streams and word streams are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from cr3scope.x86.word import MASK64

if TYPE_CHECKING:
    import numpy.typing as npt

Words: TypeAlias = "npt.NDArray[np.uint64]"


class StreamError(Exception):
    """The stream breaks the format; the message says where in it."""


class Stream:
    """Reads numbers off a decoded byte stream."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        """Take one byte; StreamError at the end."""
        if self.at >= len(self.data):
            raise StreamError(f"the stream is cut after byte {self.at:#x}")
        self.at += 1
        return self.data[self.at - 1]

    def take(self, count: int) -> bytes:
        """Take ``count`` bytes; StreamError if there are fewer."""
        if self.at + count > len(self.data):
            raise StreamError(f"the stream is cut after byte {len(self.data):#x}")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self) -> int:
        """Take an unsigned LEB128 number of at most ten bytes and 64 bits."""
        value = self.byte()
        if value < 0x80:
            return value
        value &= 0x7F
        for shift in range(7, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value > MASK64:
                    break
                return value
        raise StreamError(f"a number above 64 bits ends at byte {self.at:#x}")

    def signed(self) -> int:
        """Take a zigzag number."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def at_end(self) -> bool:
        """Return whether every byte was read."""
        return self.at == len(self.data)

    def words(self, total: int) -> Words:
        """Take one plane: runs of ``first + i * stride`` that cover exactly ``total`` words."""
        counts: list[int] = []
        firsts: list[int] = []
        strides: list[int] = []
        done = last = 0
        while done < total:
            head = self.varint()
            count = head >> 1
            if not 1 <= count <= total - done:
                raise StreamError(f"a run of {count} words before byte {self.at:#x}")
            first = last + self.signed() & MASK64
            stride = self.signed() & MASK64 if head & 1 else 0
            last = first + stride * (count - 1) & MASK64
            counts.append(count)
            firsts.append(first)
            strides.append(stride)
            done += count
        lengths = np.array(counts, dtype=np.uint64)
        starts = np.cumsum(lengths) - lengths
        position = np.arange(total, dtype=np.uint64) - np.repeat(starts, counts)
        runs = np.array(firsts, dtype=np.uint64)
        steps = np.array(strides, dtype=np.uint64)
        return np.repeat(runs, counts) + np.repeat(steps, counts) * position
