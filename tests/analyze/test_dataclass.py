"""The package's dataclass does what the library's does, and compiles nothing before an object is made."""

from __future__ import annotations

import copy
import dataclasses
import enum
import inspect
import pickle
import re
from dataclasses import KW_ONLY, FrozenInstanceError, field
from pathlib import Path
from typing import Any

import pytest

from cr3scope import dataclass as ours

PACKAGE = Path(ours.__file__).parent
FORMS: list[dict[str, bool]] = [
    {"frozen": frozen, "slots": slots, "eq": eq} for frozen in (True, False) for slots in (True, False) for eq in (True, False)
]


def _classes(decorator: Any, options: dict[str, bool]) -> tuple[Any, Any]:
    @decorator(**options)
    class Base:
        """A class with all that the package uses."""

        first: int
        second: str = "two"
        many: list[int] = field(default_factory=list)
        hidden: int = field(default=7, repr=False, compare=False)
        made: int = field(init=False, default=3)
        _: KW_ONLY
        named: int = 9

        @property
        def double(self) -> int:
            """Return twice the first."""
            return self.first * 2

    @decorator(**options)
    class Sub(Base):
        """A subclass with a field more, checked once all are there."""

        last: tuple[int, ...] = ()

        def __post_init__(self) -> None:
            if self.first < 0:
                raise ValueError(self.first)

    return Base, Sub


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_objects_are_made_shown_compared_and_replaced_as_the_librarys(options: dict[str, bool]) -> None:
    for mine, theirs in zip(_classes(ours.dataclass, options), _classes(dataclasses.dataclass, options)):
        for given, named in (((1,), {}), ((1, "x", [2]), {"named": 4}), ((), {"first": 5, "hidden": 6})):
            one, other = mine(*given, **named), theirs(*given, **named)
            assert repr(one) == repr(other) and dataclasses.asdict(one) == dataclasses.asdict(other)
            assert [f.name for f in dataclasses.fields(one)] == [f.name for f in dataclasses.fields(other)]
            assert (one == mine(*given, **named)) == (other == theirs(*given, **named))
            assert (one == dataclasses.replace(one, hidden=1)) == (other == dataclasses.replace(other, hidden=1))
            assert one != dataclasses.replace(one, second="y") and one != 1
            assert mine.__match_args__ == theirs.__match_args__
            assert (mine.__hash__ is None) == (theirs.__hash__ is None)
            assert hasattr(one, "__dict__") == hasattr(other, "__dict__")
        assert mine(1).many is not mine(1).many
        for wrong in ((), (1, "x", [], 0, 0, 0, 0, 0)):
            for kind in (mine, theirs):
                with pytest.raises(TypeError):
                    kind(*wrong)
    with pytest.raises(ValueError, match="-1"):
        _classes(ours.dataclass, options)[1](-1)


@pytest.mark.parametrize("slots", [True, False])
def test_a_frozen_object_cannot_be_changed_and_is_hashed_by_what_is_compared(slots: bool) -> None:
    decorator: Any = ours.dataclass

    @decorator(frozen=True, slots=slots)
    class Frozen:
        """Two numbers of which one counts."""

        first: int
        hidden: int = field(default=0, compare=False)

    made: Any = Frozen
    one = made(1)
    assert hash(one) == hash(made(1, 2)) and one == made(1, 2) and len({one, made(1), made(2)}) == 2
    with pytest.raises(FrozenInstanceError, match="first"):
        one.first = 2
    with pytest.raises(FrozenInstanceError):
        del one.first
    assert one.first == 1


@ours.dataclass(frozen=True, slots=True)
class Kept:
    """What is pickled stands in a module."""

    first: int
    others: tuple[int, ...] = ()


@ours.dataclass(frozen=True)
class _Mixed:
    first: int


class _Members(_Mixed, enum.Enum):
    ONE = 1


@ours.dataclass(frozen=True, slots=True)
class _Own:
    first: int

    def __eq__(self, other: object) -> bool:
        return True

    def __repr__(self) -> str:
        return "own"

    def __hash__(self) -> int:
        return 5


def test_objects_are_pickled_and_copied() -> None:
    one = Kept(1, (2, 3))
    assert pickle.loads(pickle.dumps(one)) == one == copy.deepcopy(one) and repr(copy.copy(one)) == "Kept(first=1, others=(2, 3))"


def test_what_a_class_defines_itself_stays() -> None:
    assert _Own(1) == 2 and repr(_Own(1)) == "own" and hash(_Own(1)) == 5


def test_an_enumeration_of_them_has_names_and_values() -> None:
    assert _Members.ONE.first == 1 and _Members.ONE.name == "ONE"


def test_no_method_is_compiled_before_an_object_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def counted(text: str, scope: dict[str, Any]) -> None:
        compiled.append(text)
        exec(text, scope)

    monkeypatch.setitem(ours.__dict__, "exec", counted)
    monkeypatch.setattr(dataclasses, "_create_fn", lambda *_: pytest.fail("the library compiles"), raising=False)

    @ours.dataclass(frozen=True, slots=True)
    class Late:
        """One number."""

        first: int

    assert not compiled
    assert Late(1) == Late(1) != Late(2)
    assert len(compiled) == 1


def test_every_dataclass_of_the_package_is_one_of_these() -> None:
    """The library's cost half a millisecond each, at every start; the one that is ordered needs the library."""
    pattern = re.compile(r"^from dataclasses import .*\bdataclass\b|\bdataclasses\.dataclass\(", re.M)
    others = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if pattern.search(path.read_text())}
    assert others == {"dataclass.py", "input/sources/physical_memory.py"}


def test_a_class_without_words_is_not_inspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "signature", lambda *_, **__: pytest.fail("the library looks for words"))

    @ours.dataclass(frozen=True, slots=True)
    class Wordless:
        first: int

    assert Wordless(1).first == 1
