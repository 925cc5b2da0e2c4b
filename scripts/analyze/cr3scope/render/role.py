"""The role of an access in words."""

from __future__ import annotations

from cr3scope.model.role import Role

_WORDS = {
    Role.NEXT_FETCH: "next fetch",
    Role.FETCH: "fetch",
    Role.ENTRY: "entry",
    Role.READ: "read",
    Role.WRITE: "write",
    Role.STACK_READ: "stack read",
    Role.STACK_WRITE: "stack write",
    Role.GDT_READ: "GDT read",
    Role.GDT_WRITE: "GDT write",
    Role.INSTRUCTION: "instruction",
    Role.SWITCH: "mov cr3",
}


def text(role: Role) -> str:
    """Return what an access is for, in one or two words."""
    return _WORDS[role]
