"""The page's own scripts and styles as text: modules of `page/`, one behind the other, and the policy that lets in no others."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "page"
# Each may import those before it.
_MODULES = ("words", "tables", "walk", "strips", "answer", "columns", "mends", "course", "main")
_POLICY = "default-src 'none'; script-src '{}'; style-src '{}'; base-uri 'none'; form-action 'none'"


def modules(names: Iterable[str]) -> str:
    """Return some modules, in this order, as the body of one function: an import is a line, and every name is one of all."""
    lines = (line for name in names for line in (_FOLDER / f"{name}.js").read_text(encoding="utf-8").splitlines(keepends=True))
    return "".join(line.removeprefix("export ") for line in lines if not line.startswith("import "))


@cache
def script() -> str:
    """Return all modules as one script."""
    return f'"use strict";\n(() => {{\n{modules(_MODULES)}}})();\n'


@cache
def style() -> str:
    """Return the style sheet."""
    return (_FOLDER / "page.css").read_text(encoding="utf-8")


@cache
def policy() -> str:
    """Return the content security policy: this script and this style, and nothing from anywhere."""
    return _POLICY.format(_hash(script()), _hash(style()))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
