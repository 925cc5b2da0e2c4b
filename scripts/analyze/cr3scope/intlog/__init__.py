"""QEMU's ``-d int`` log: find the switch and the first exception after it."""
