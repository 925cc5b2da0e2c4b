"""cr3scope: why a kernel dies at ``mov cr3``, told before the switch."""

__version__ = "0.1.0"
