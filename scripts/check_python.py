"""What `make check` holds of Python beyond types and imports: what the linter finds, definitions that nobody uses."""

from __future__ import annotations

import ast
import re
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
    """Yield what pyflakes finds: unused imports and variables, redefined and undefined names.

    Not in comments that give types, which newer ones do not read either: they take as long as all else.
    """
    try:
        from pyflakes.checker import Checker
    except ImportError:
        yield "pyflakes: not installed (make deps)"
        return
    for file in files:
        try:
            found = Checker(parsed((root / file).read_text()), str(file)).messages
        except SyntaxError as error:
            yield f"{file}:{error.lineno}:{error.offset}: {error.msg}"
        else:
            yield from map(str, sorted(found, key=lambda message: message.lineno))


def _documentation(tree: ast.AST) -> set[int]:
    """Return the identities of the nodes that are docstrings."""
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, *_DEFINITIONS)) and node.body and isinstance(node.body[0], ast.Expr)
    }


def _uses(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each name that is used, with its line. An import is no use, nor is a docstring.

    A string that could name something, as for getattr, is.
    """
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


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield each plain name that a statement assigns to, with its value; None for a value where one is unpacked."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
        if isinstance(target, ast.Name):
            yield target.id, value
        elif isinstance(target, ast.Tuple):
            values = value.elts if isinstance(value, ast.Tuple) else [None] * len(target.elts)
            yield from ((name.id, one) for name, one in zip(target.elts, values) if isinstance(name, ast.Name))


def _foreign(node: ast.ClassDef, own: set[str]) -> bool:
    """Return whether a class has a base that is not defined here, whose library may use what the class defines."""
    ours = own | {"Protocol", "Enum", "IntEnum", "IntFlag", "Exception"}
    return any(not isinstance(base, ast.Name) or base.id not in ours for base in node.bases)


def _definitions(tree: ast.Module, own: set[str]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield what a module defines: functions, classes, constants, and the methods and fields of its classes.

    Not the names of a tuple: some of them stand there for the sake of the others' places.
    """
    for node in tree.body:
        if isinstance(node, _DEFINITIONS):
            yield node.name, node
        yield from ((name, node) for name, value in _assigned(node) if value is getattr(node, "value", None))
        if isinstance(node, ast.ClassDef) and not _foreign(node, own):
            yield from ((inner.name, inner) for inner in node.body if isinstance(inner, _FUNCTIONS))
            yield from ((name, inner) for inner in node.body for name, _ in _assigned(inner))


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
            private = name.startswith("_") and node in tree.body  # others' of that name are no uses
            if all((user != file and private) or (user == file and line in inside) for user, line in uses.get(name, ())):
                yield f"{file}:{node.lineno}: nobody uses {name}"


# Numbers of the architecture that are long enough to have no second meaning, and what they are called in x86/.
_TOP_BIT = 1 << 63  # means one thing in an entry and another in a status: a constant may say so by its name
_NUMBERS = {
    (1 << 64) - 1: "MASK64",
    _TOP_BIT: "NO_EXECUTE, or a constant of another name",
    0xFFF: "PAGE_OFFSET",
    ~0xFFF: "PAGE_FRAME",
    0x000F_FFFF_FFFF_F000: "ADDRESS_MASK",
}
_LITERAL = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Tuple, ast.Set, ast.Dict, ast.Load)


def _value(node: ast.expr | None) -> object:
    """Return the value of an expression of literals, frozen sets of them included; None for any other."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "frozenset" and node.args:
        node = node.args[0]
    if node is None or not all(isinstance(part, _LITERAL) for part in ast.walk(node)):
        return None
    try:
        return eval(compile(ast.Expression(node), "", "eval"), {"__builtins__": {}})  # noqa: S307 - literals only
    except (TypeError, ValueError, ArithmeticError):
        return None


def repeated(root: Path, files: Iterable[Path], ground: Path) -> Iterator[str]:
    """Yield each second definition of a constant: the same upper-case name with the same value in two modules.

    Outside of ``ground``, the folder of the architecture's words, its own numbers do not stand as literals either.
    """
    first: dict[tuple[str, str], Path] = {}
    for file in sorted(files, key=lambda file: (not file.is_relative_to(ground), file)):
        tree = parsed((root / file).read_text())
        for node, name, value in ((node, name, _value(given)) for node in tree.body for name, given in _assigned(node)):
            if not name.isupper() or value is None:
                continue
            where = first.setdefault((name.lstrip("_"), repr(value)), file)
            if where != file:
                yield f"{file}:{node.lineno}: {name} is {value!r} in {where} too"
        if not file.is_relative_to(ground):
            yield from (f"{file}:{line}: a number of x86/: {name}" for line, name in _numbers(tree))


def _numbers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each number of the architecture that stands as a literal."""
    named = {id(value) for node in tree.body for _, value in _assigned(node)}
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        value = _value(node) if isinstance(node, (ast.Constant, ast.BinOp, ast.UnaryOp)) else None
        if type(value) is int and value in _NUMBERS:
            if value != _TOP_BIT or id(node) not in named:
                yield node.lineno, _NUMBERS[value]
        else:
            left += ast.iter_child_nodes(node)


# What the docstring of a public function may begin with.
_VERBS = frozenset("""
    Add Answer Apply Ask Begin Boot Build Call Carry Check Choose Clear Close Collect Compare Complete Continue Convert Copy Count Decide Decode
    Describe Do Draw Drop Emulate End Extend Fail Fill Find Follow Format Forward Give Handle Hold Install Judge Keep Leave Let Limit List
    Load Log Look Make Map Mark Match Mend Merge Move Name Open Pack Parse Plan Predict Prefer Print Put Raise Read Record Refuse
    Release Remember Remove Render Replace Report Require Reset Restore Return Run Save Say Scan Send Set Show Skip Sort Split Start Stay
    Step Stop Store Take Tell Test Translate Trim Try Turn Unpack Update Use Wait Walk Warn Watch Wrap Write Yield
""".split())


def docstrings(root: Path, files: Iterable[Path]) -> Iterator[str]:
    """Yield each public function, method or property whose docstring does not begin with a verb in the imperative."""
    for file in files:
        for node in ast.walk(parsed((root / file).read_text())):
            if not isinstance(node, _FUNCTIONS) or node.name.startswith("_"):
                continue
            text = ast.get_docstring(node)
            first = text.split()[0].rstrip(",.:;") if text else None
            if first is not None and first not in _VERBS:
                yield f"{file}:{node.lineno}: the docstring of {node.name} begins with no verb that is known: {first}"
