"""One file for each format of log: a module here with a ``FORMAT`` is all that it takes (docs/contributing.md)."""
