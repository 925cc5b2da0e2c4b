"""The text of QEMU's ``-d int`` log: its records, read in windows wherever they lie."""
