"""Run a QEMU and watch it."""
