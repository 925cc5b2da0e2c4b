"""What `make check` holds of Python beyond types and imports: what the linter finds, definitions that nobody uses."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

_WORD = re.compile(r"[^\W\d]\w*")
_PATH_OF_NAMES = re.compile(r"[\w.:]+")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)


@cache
def parsed(text: str) -> ast.Module:
    """Return the syntax tree of a Python file, which several checks look at."""
    return ast.parse(text)


def lint(root: Path, files: Iterable[Path]) -> Iterator[str]:
    """Yield what pyflakes finds: unused imports and variables, redefined and undefined names."""
    command = [sys.executable, "-m", "pyflakes", *map(str, files)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if "No module named" in done.stderr:
        yield "pyflakes: not installed (make deps)"
        return
    for line in (done.stdout + done.stderr).splitlines():
        yield line


def _documentation(tree: ast.AST) -> set[int]:
    """Return the identities of the nodes that are docstrings."""
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, *_DEFINITIONS)) and node.body and isinstance(node.body[0], ast.Expr)
    }


def _uses(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each name that is used, with its line. An import is no use, nor is a docstring; a string that could name
    something, as for getattr, is."""
    documentation = _documentation(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg, node.value.lineno
        elif isinstance(node, ast.MatchClass):
            yield from ((name, node.lineno) for name in node.kwd_attrs)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            if _PATH_OF_NAMES.fullmatch(node.value):
                yield from ((name, node.lineno) for name in _WORD.findall(node.value))


def _assigned(node: ast.stmt) -> Iterator[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    yield from (target.id for target in targets if isinstance(target, ast.Name))


def _foreign(node: ast.ClassDef, own: set[str]) -> bool:
    """Return whether a class has a base that is not defined here, whose library may use what the class defines."""
    ours = own | {"Protocol", "Enum", "IntEnum", "IntFlag", "Exception"}
    return any(not isinstance(base, ast.Name) or base.id not in ours for base in node.bases)


def _definitions(tree: ast.Module, own: set[str]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield what a module defines for others: functions, classes, constants, and the methods of its classes."""
    for node in tree.body:
        if isinstance(node, _DEFINITIONS):
            yield node.name, node
        yield from ((name, node) for name in _assigned(node))
        if isinstance(node, ast.ClassDef) and not _foreign(node, own):
            yield from ((inner.name, inner) for inner in node.body if isinstance(inner, _FUNCTIONS))
            yield from ((name, inner) for inner in node.body for name in _assigned(inner))


def unused(root: Path, python: Iterable[Path], others: Iterable[Path]) -> Iterator[str]:
    """Yield each definition that neither Python nor any of the other files names outside of itself.

    ``python`` are the files that define and use; of ``others`` (templates, scripts of the shell) each word is a use.
    """
    trees: Mapping[Path, ast.Module] = {file: parsed((root / file).read_text()) for file in python}
    uses: dict[str, list[tuple[Path, int]]] = {}
    for file, tree in trees.items():
        for name, line in _uses(tree):
            uses.setdefault(name, []).append((file, line))
    for file in others:
        for name in _WORD.findall((root / file).read_text()):
            uses.setdefault(name, []).append((file, 0))
    own = {node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for file, tree in trees.items():
        for name, node in _definitions(tree, own):
            if name.startswith("__"):
                continue
            inside = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if all(user == file and line in inside for user, line in uses.get(name, ())):
                yield f"{file}:{node.lineno}: nobody uses {name}"
