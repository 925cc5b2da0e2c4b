"""What the trace calls a stack."""

from __future__ import annotations

STACK_ROLES = frozenset({"stack"})
