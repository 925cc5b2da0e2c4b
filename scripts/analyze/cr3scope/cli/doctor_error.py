"""What a bug report tells of an exception: its kind, its places in the code, and of its message what quotes nothing."""

from __future__ import annotations

import builtins
import linecache
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

from cr3scope.cli.doctor_looks import MODULES
from cr3scope.cli.doctor_messages import told_message
from cr3scope.cli.left_out import LEFT_OUT
from cr3scope.places import PACKAGE

_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()
_FROZEN = "<frozen "
_MOST = 5  # exceptions of one chain
_PLACES = 30  # at either end of what an exception went through
# What messages call types that have no other name, and codecs.
_TYPES = ("NoneType", "function", "method", "module", "generator", "builtin_function_or_method", "ellipsis", "ndarray", "deque",
          "hashable", "iterable", "callable", "subscriptable", "reversible", "string", "utf-8", "ascii", "latin-1", "long")  # fmt: skip
_OWN = (PACKAGE.name, *MODULES)


def told_error(error: Exception) -> Iterator[str]:
    """Yield an exception and those that it came of, each with its places, innermost last."""
    one: BaseException | None = error
    for how in ("internal error", *("came of" for _ in range(_MOST - 1))):
        if one is None:
            return
        message = told_message(one, set(_known(one)))
        yield f"{how}: {_kind(one)}{': ' if message else ''}{message}"
        yield from _told_places(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _kind(error: BaseException) -> str:
    """Its type; the nearest known one that it is a kind of, if nobody knows it."""
    kind = next(kind for kind in type(error).__mro__ if _is_known(kind))
    name = kind.__name__ if kind.__module__ == builtins.__name__ else f"{kind.__module__}.{kind.__name__}"
    return name if kind is type(error) else f"a kind of {name}"


def _is_known(kind: type) -> bool:
    """Whether a module of Python, a library or the package has a type, under its own name."""
    name = kind.__module__
    if not isinstance(name, str) or name.partition(".")[0] not in {*sys.stdlib_module_names, *_OWN}:
        return False
    return name in sys.modules and vars(sys.modules[name]).get(kind.__name__) is kind


def _told_places(error: BaseException) -> Iterator[str]:
    """The places that an exception went through, of very many the first and the last: recursion that does not end has a thousand."""
    places = list(traceback.walk_tb(error.__traceback__))
    left = len(places) - 2 * _PLACES
    for number, (frame, line) in enumerate(places):
        if left <= 0 or number not in range(_PLACES, _PLACES + left):
            yield from _told_place(frame.f_code, line)
        elif number == _PLACES:
            yield f"  and {left} places more"


def _told_place(code: CodeType, line: int) -> Iterator[str]:
    """One place; of the package, its line of source too, and of code that nobody knows nothing."""
    place = _place(code)
    if place is None:
        yield f"  {LEFT_OUT}"
        return
    yield f"  {'.'.join(place)}, line {line}, in {code.co_name}"
    if _is_ours(place):
        yield f"    {linecache.getline(code.co_filename, line or 0).strip()}"


def _place(code: CodeType) -> tuple[str, ...] | None:
    """The names of a module of the package, of Python's library, or of a library that is used; None of any other."""
    name = code.co_filename
    if name.startswith(_FROZEN):
        parts = tuple(name[len(_FROZEN) : -1].split("."))
        return parts if parts[0] in sys.stdlib_module_names else None
    for root, names in _roots():
        try:
            parts = Path(name).resolve().relative_to(root).with_suffix("").parts
        except (OSError, ValueError, RuntimeError):  # a name of no file, and links that lead round
            continue
        if parts and parts[0] in names:
            return parts
    return None


def _roots() -> Iterator[tuple[Path, frozenset[str]]]:
    """Folders of modules, and which of what lies there is known."""
    yield PACKAGE.parent, frozenset({PACKAGE.name})
    yield _STANDARD, sys.stdlib_module_names
    for module in MODULES:
        file = getattr(sys.modules.get(module), "__file__", None)
        if file:
            yield Path(file).resolve().parent.parent, frozenset({module})


def _is_ours(place: tuple[str, ...] | None) -> bool:
    return place is not None and place[0] == PACKAGE.name


def _known(error: BaseException) -> Iterator[str]:
    """The names of the package's modules and of what they define, all words of its code that an exception went through, and names of types."""
    yield from dir(builtins)
    yield from (*_TYPES, *_OWN)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == PACKAGE.name:
            yield from (name, *vars(module))
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if _is_ours(_place(frame.f_code)):
            yield from _words(frame.f_code)


def _words(code: CodeType) -> Iterator[str]:
    """All names and whole texts of a function's code: they stand in its source."""
    yield from (code.co_name, *code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars)
    yield from _texts(code.co_consts)


def _texts(constants: tuple[object, ...]) -> Iterator[str]:
    for one in constants:
        if isinstance(one, str):
            yield one
        elif isinstance(one, tuple):
            yield from _texts(one)
