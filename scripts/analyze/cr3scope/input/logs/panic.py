"""How kernels begin the line in which they give up, and edk2 firmware its screen."""

from __future__ import annotations

LINUX_PANIC = b"Kernel panic - not syncing: "  # kernel/panic.c
XEN_LINE = rb"\(XEN\) (?:\[[^\]\r\n]{1,20}\] )?"  # a pattern: before each line of the hypervisor's
SCREENS = (b"!!!! X64 Exception Type - ", b"!!!! IA32 Exception Type - ")
SCREEN_BY = "the firmware's screen"
