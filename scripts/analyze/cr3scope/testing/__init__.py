"""For tests of kernels and loaders: boots one as `cr3scope run` does, and returns the verdict as an object.

What boots is imported when it is asked for: pytest loads the plugin that lies beside it at each start, whatever it tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cr3scope.testing.booted import Booted, boot

__all__ = ["Booted", "boot"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cr3scope.testing import booted

    return getattr(booted, name)
