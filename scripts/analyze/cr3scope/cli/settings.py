"""The environment's variables that are cr3scope's own, by their names."""

from __future__ import annotations

DEBUG = "CR3SCOPE_DEBUG"  # an internal error shows its traceback
DOCS = "CR3SCOPE_DOCS"  # where the documents are to be read: the rules' help in SARIF leads there
_PYTHON = "CR3SCOPE_PYTHON"  # the interpreter that the scripts before this package choose
SETTINGS = (DEBUG, DOCS, _PYTHON)
