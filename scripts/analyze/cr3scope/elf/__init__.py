"""ELF files: headers and notes."""
