"""The stacks of several CPUs, told apart by the numbers in their names."""

from __future__ import annotations

import re

from cr3scope.model.intent import Intent, Named
from cr3scope.model.stack_roles import STACK_ROLES

_NUMBERED_STACK = re.compile(r"stack ?([0-9]{1,4})")


def numbered_stacks(intent: Intent) -> dict[int, Named]:
    """Return the ranges that are named as stacks with a number, by that."""
    named = [*intent.maps, *intent.regions]
    found = ((_NUMBERED_STACK.fullmatch(one.name), one) for one in named if one.role in STACK_ROLES)
    return {int(name[1]): one for name, one in found if name}
