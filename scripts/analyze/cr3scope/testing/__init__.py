"""For tests of kernels and loaders: boots one as `cr3scope run` does, and returns the verdict as an object."""

from cr3scope.testing.booted import Booted, boot

__all__ = ["Booted", "boot"]
