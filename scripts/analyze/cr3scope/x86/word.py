"""Widths that everything on x86-64 shares."""

from __future__ import annotations

QWORD = 8  # bytes of a register, a push, a table entry
DWORD = 4  # of those outside long mode
MASK64 = (1 << 64) - 1  # addresses wrap around here
MAX_INSTRUCTION_BYTES = 15  # SDM volume 2A, 2.3.11
MASK32 = (1 << 32) - 1  # as do those outside long mode here
FOUR_GIB = 1 << 32  # past what 32 bits reach
