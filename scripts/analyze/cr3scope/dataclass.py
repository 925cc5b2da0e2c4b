"""The standard library's ``dataclass``, with methods that cost nothing until they are called.

The library compiles up to six methods where a class is defined, half a millisecond for each class. A verdict imports two
hundred classes and makes objects of half of them. Here the library makes fields and slots, one function serves all classes for
each method but ``__init__``, and that one is compiled when the first object is made. ``field``, ``fields``, ``replace``
and ``asdict`` are the library's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen=False, slots=False, eq=True):
        """Return a decorator that makes a dataclass; the options are the library's. ``InitVar`` is not known here."""

        def made(cls):
            cls.__doc__ = cls.__doc__ or cls.__name__  # else the library takes milliseconds to make one of the signature
            return _equipped(dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls), frozen, slots, eq)

        return made


Method = Callable[..., Any]


def _equipped(cls: type, frozen: bool, slots: bool, eq: bool) -> type:
    """The class with the methods that it does not define itself."""
    methods: dict[str, Method | None] = {"__init__": _first_init(cls, frozen), "__repr__": _repr}
    if eq:
        methods["__eq__"] = _equality(_key(cls, lambda one: bool(one.compare)))
        methods["__hash__"] = _hash(_key(cls, lambda one: bool(one.compare if one.hash is None else one.hash))) if frozen else None
    if frozen:
        methods["__setattr__"], methods["__delattr__"] = _refusals(cls)
    if frozen and slots:
        methods["__getstate__"], methods["__setstate__"] = _state, _restore
    own = cls.__dict__
    for name, method in methods.items():
        # A class that defines __eq__ has None for its __hash__ of the interpreter, not of its author.
        if name not in own or (name == "__hash__" and own[name] is None and "__eq__" in own):
            setattr(cls, name, method)
    return cls


def _first_init(cls: type, frozen: bool) -> Method:
    """An ``__init__`` that puts the real one into its place."""

    def __init__(self: object, *given: object, **named: object) -> None:
        made = _init(cls, frozen)
        setattr(cls, "__init__", made)
        made(self, *given, **named)

    return __init__


def _init(cls: type, frozen: bool) -> Method:
    """The ``__init__`` that the library would have made."""
    scope: dict[str, Any] = {"__set": object.__setattr__, "__unset": MISSING}
    given: list[str] = []
    named: list[str] = []
    body: list[str] = []
    for number, one in enumerate(dataclasses.fields(cls)):
        name, default, factory = one.name, f"__default{number}", f"__factory{number}"
        value, parameter = name, name
        if one.default_factory is not MISSING:
            scope[factory] = one.default_factory
            value = f"{factory}() if {name} is __unset else {name}" if one.init else f"{factory}()"
            parameter = f"{name}=__unset"
        elif one.default is not MISSING:
            scope[default] = one.default
            value = name if one.init else default
            parameter = f"{name}={default}"
        elif not one.init:
            continue
        if one.init:
            (named if one.kw_only else given).append(parameter)
        body.append(f"__set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    parameters = ", ".join(("self", *given, *(("*", *named) if named else ())))
    exec(f"def __init__({parameters}):\n    " + "\n    ".join(body or ["pass"]), scope)
    made: Method = scope["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _key(cls: type, counts: Callable[[dataclasses.Field[Any]], bool]) -> Callable[[object], tuple[Any, ...]]:
    """What an object is compared by."""
    names = [one.name for one in dataclasses.fields(cls) if counts(one)]
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple(getattr(self, name) for name in names)


def _equality(key: Callable[[object], tuple[Any, ...]]) -> Method:
    def __eq__(self: object, other: object) -> Any:
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    return __eq__


def _hash(key: Callable[[object], tuple[Any, ...]]) -> Method:
    def __hash__(self: object) -> int:
        return hash(key(self))

    return __hash__


@recursive_repr()
def _repr(self: Any) -> str:
    shown = (f"{one.name}={getattr(self, one.name)!r}" for one in dataclasses.fields(self) if one.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refusals(cls: Any) -> tuple[Method, Method]:
    """What keeps an object as it was made; a subclass, as one of ``Enum``, may have attributes beside the fields."""
    names = frozenset(one.name for one in dataclasses.fields(cls))

    def __setattr__(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def __delattr__(self: object, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    return __setattr__, __delattr__


def _state(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in dataclasses.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for one, value in zip(dataclasses.fields(self), state):
        object.__setattr__(self, one.name, value)
