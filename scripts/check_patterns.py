"""What `make check` holds of regular expressions: none may look at a character of a user's line again and again.

A pattern is taken as the automaton that it is. It costs more than a few looks a character if the same text can be read
in ever more ways that may all fail: a repetition inside a repetition, two repetitions side by side that take the same
characters, or a search that can begin anew inside of what a repetition has just read. These are the automata of
infinite ambiguity: two states p and q and a text that leads from p to p, from p to q, and from q to q (Weber and Seidl,
"On the degree of ambiguity of finite automata", 1991). What has matched whatever follows is not tried again.

Repetitions with an end count as a few copies: they cost as much as they may be long, and no more.
"""

from __future__ import annotations

import ast
import gc
import importlib
import pkgutil
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from check_python import parsed

try:
    from re import _parser as parser  # type: ignore[attr-defined]
except ImportError:  # Python 3.10
    import sre_parse as parser  # type: ignore[no-redef]

_OTHERS = 256  # stands for all characters above
_ALL = frozenset(range(_OTHERS + 1))
_LINE_END = ord("\n")
_COPIES = 3  # of a repetition that ends
_ENDLESS = 4096  # a repetition of more is as good as one without an end
_ANYWHERE = -1  # the state of a search that has not begun to match
_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d", "CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_SPACE": r"\s", "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w", "CATEGORY_NOT_WORD": r"\W",
}  # fmt: skip
_BEGINS, _LINE_BEGINS = "AT_BEGINNING_STRING", "AT_BEGINNING_LINE"
_BOUNDARY = "AT_BOUNDARY"
Class = frozenset[int]


@dataclass
class _Part:
    """A piece of a pattern. ``last``: whether nothing but what may be left out, and no condition, comes behind.

    ``empty``: whether it can match nothing; ``sure``: without a condition.
    """

    first: set[int] = field(default_factory=set)
    last: dict[int, bool] = field(default_factory=dict)
    empty: bool = True
    sure: bool = True


class Automaton:
    """The positions of a pattern's characters, and which may follow which."""

    def __init__(self, pattern: str | bytes, flags: int) -> None:
        self.classes: list[Class] = []
        self.follow: dict[int, set[int]] = {}
        self.doubled: set[int] = set()  # positions of which a repetition in a repetition comes back
        self.inner: list[Any] = []  # what stands in conditions
        self._text = isinstance(pattern, str)
        read = parser.parse(pattern, flags)
        self.flags = read.state.flags
        whole = self._sequence(read, True)
        self.first = whole.first
        self.sure = {position for position, sure in whole.last.items() if sure}
        self.always = whole.empty and whole.sure

    def of_inner(self, part: Any) -> Automaton:
        """Return the automaton of what stands in a condition."""
        other = Automaton.__new__(Automaton)
        other.classes, other.follow, other.doubled, other.inner = [], {}, set(), []
        other._text, other.flags = self._text, self.flags
        whole = other._sequence(part, False)
        other.first, other.always = whole.first, whole.empty and whole.sure
        other.sure = {position for position, sure in whole.last.items() if sure}
        return other

    def _position(self, characters: Iterable[int]) -> _Part:
        found = frozenset(characters)
        if self.flags & re.IGNORECASE:
            found |= {ord(other) for c in found if c < 128 for other in (chr(c).lower(), chr(c).upper())}
        self.classes.append(found)
        number = len(self.classes) - 1
        self.follow[number] = set()
        return _Part({number}, {number: True}, False, False)

    def _sequence(self, items: Any, at_start: bool) -> _Part:
        parts: list[_Part] = []
        boundaries: list[tuple[int, int]] = []
        for item in items:
            part = self._part(item, at_start)
            if str(item[0]) == "AT" and str(item[1]) == _BOUNDARY and part.first:
                boundaries += [(len(parts), position) for position in part.first]
            at_start = at_start and part.empty and not part.first
            parts.append(part)
        for number, position in boundaries:
            self.classes[position] = self._before_boundary(parts[number + 1 :])
        whole = _Part()
        for part in parts:
            whole = self._joined(whole, part)
        return whole

    def _before_boundary(self, parts: list[_Part]) -> Class:
        """What stands before \\b, by what may follow."""
        word = self._category("CATEGORY_WORD")
        found: set[int] = set()
        for part in parts:
            found.update(*(self.classes[position] for position in part.first))
            if not part.empty:
                return frozenset((set() if found <= word else word) | (set() if not found & word else _ALL - word))
        return _ALL

    def _joined(self, one: _Part, two: _Part) -> _Part:
        for position in one.last:
            self.follow[position] |= two.first
        last = dict(two.last)
        if two.empty:
            last |= {position: sure and two.sure for position, sure in one.last.items()}
        first = one.first | two.first if one.empty else one.first
        return _Part(first, last, one.empty and two.empty, one.sure and two.sure)

    def _part(self, item: Any, at_start: bool) -> _Part:
        kind, value = str(item[0]), item[1]
        if kind in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return self._position(self._class(item))
        if kind == "BRANCH":
            return self._either([self._sequence(each, at_start) for each in value[1]])
        if kind == "SUBPATTERN":
            return self._sequence(value[3], at_start)
        if kind == "ATOMIC_GROUP":
            return self._sequence(value, at_start)
        if kind.endswith("_REPEAT"):
            return self._repeated(*value)
        if kind == "GROUPREF":  # as long as any text
            return self._joined(self._repeated(0, _ENDLESS, [("ANY", None)]), _Part(sure=False))
        if kind == "GROUPREF_EXISTS":
            return self._either([self._sequence(each or [], False) for each in value[1:]])
        return self._condition(kind, value, at_start)

    def _condition(self, kind: str, value: Any, at_start: bool) -> _Part:
        """A condition at the beginning tells which character stands before; any other is taken for one that may hold."""
        before: Class | None = None
        if kind == "AT":
            begins = str(value) in ("AT_BEGINNING", _BEGINS, _LINE_BEGINS)
            if begins:
                lines = str(value) == _LINE_BEGINS or (str(value) == "AT_BEGINNING" and self.flags & re.MULTILINE)
                before = frozenset({_LINE_END} if lines else ())
            elif str(value) == _BOUNDARY:
                before = _ALL
        elif kind in ("ASSERT", "ASSERT_NOT"):
            direction, inner = value
            self.inner.append(inner)
            if direction < 0 and len(inner) == 1 and str(inner[0][0]) in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
                found = self._class(inner[0])
                before = found if kind == "ASSERT" else _ALL - found
        if at_start and before is not None:
            return self._position(before)
        return _Part(sure=False)

    def _either(self, parts: list[_Part]) -> _Part:
        last: dict[int, bool] = {}
        for part in parts:
            last |= part.last
        empty = [part for part in parts if part.empty]
        return _Part(set().union(*(part.first for part in parts)), last, bool(empty), any(part.sure for part in empty))

    def _repeated(self, least: int, most: Any, body: Any) -> _Part:
        endless = int(most) >= _ENDLESS
        whole = _Part()
        for number in range(max(1, min(least, 2)) if endless else min(int(most), _COPIES)):
            part = self._sequence(body, False)
            if number >= least:
                part.empty = part.sure = True
            whole = self._joined(whole, part)
        if endless:
            for position in part.last:
                self.doubled |= {position} if part.first & self.follow[position] else set()
                self.follow[position] |= part.first
        return whole

    def _class(self, item: Any) -> Class:
        kind, value = str(item[0]), item[1]
        if kind == "LITERAL":
            return frozenset({min(value, _OTHERS)})
        if kind == "NOT_LITERAL":
            return _ALL - {value}
        if kind == "ANY":
            return _ALL if self.flags & re.DOTALL else _ALL - {_LINE_END}
        found: set[int] = set()
        negated = False
        for inner, what in value:
            name = str(inner)
            if name == "NEGATE":
                negated = True
            elif name == "RANGE":
                found |= set(range(min(what[0], _OTHERS), min(what[1], _OTHERS) + 1))
            elif name == "CATEGORY":
                found |= self._category(str(what))
            else:
                found.add(min(what, _OTHERS))
        return _ALL - found if negated else frozenset(found)

    def _category(self, name: str) -> Class:
        if self._text:
            shape = re.compile(_CATEGORIES[name], self.flags & re.ASCII)
            return frozenset({c for c in range(_OTHERS) if shape.match(chr(c))} | {_OTHERS})
        in_bytes = re.compile(_CATEGORIES[name].encode())
        return frozenset(c for c in range(_OTHERS) if in_bytes.match(bytes([c])))


def danger(pattern: str | bytes, flags: int, use: str = "search") -> str | None:
    """Return words for the text that makes the pattern slow, None if none does; ``use``: search, match or fullmatch."""
    left = [(Automaton(pattern, flags), use)]
    while left:
        automaton, use = left.pop()
        found = _ambiguity(automaton, use)
        if found is not None:
            return found
        left += [(automaton.of_inner(part), "search") for part in automaton.inner]
    return None


def _ambiguity(automaton: Automaton, use: str) -> str | None:
    # What has surely matched is not tried again, unless all of the text must match.
    gone = automaton.sure if use != "fullmatch" else set()
    if use != "fullmatch" and automaton.always:
        return None
    follow = {one: {each for each in others if each not in gone} for one, others in automaton.follow.items() if one not in gone}
    doubled = automaton.doubled & follow.keys()
    if doubled:
        return f"a repetition of a repetition reads {_shown(automaton.classes[min(doubled)])}"
    loops = list(_loops(follow))
    if use == "search":
        follow[_ANYWHERE] = {_ANYWHERE, *(each for each in automaton.first if each not in gone)}
        loops.append({_ANYWHERE})
    classes = {_ANYWHERE: _ALL, **dict(enumerate(automaton.classes))}
    for first in loops:
        for second in loops:
            if second == {_ANYWHERE}:
                continue
            found = _read_twice(follow, classes, first, second)
            if found is not None:
                return found
    return None


def _read_twice(follow: dict[int, set[int]], classes: dict[int, Class], first: set[int], second: set[int]) -> str | None:
    """Words for a text that leads from p to p, from p to q and from q to q, with p in one loop and q in the other."""
    for p in first:
        for q in second:
            if p == q:
                continue
            seen = {(p, p, q)}
            left: deque[tuple[tuple[int, int, int], Class]] = deque([((p, p, q), frozenset())])
            while left:
                (one, middle, other), _ = left.popleft()
                for a in follow[one] & first:
                    for c in follow[other] & second:
                        both = classes[a] & classes[c]
                        for b in follow[middle] if both else ():
                            common = both & classes[b]
                            if not common:
                                continue
                            if (a, b, c) == (p, q, q):
                                where = "a search begins anew in" if p == _ANYWHERE else "two repetitions read"
                                return f"{where} what ends in {_shown(common)}"
                            if (a, b, c) not in seen:
                                seen.add((a, b, c))
                                left.append(((a, b, c), common))
    return None


def _loops(follow: dict[int, set[int]]) -> Iterator[set[int]]:
    """The sets of states that lead to each other (strongly connected, with an edge)."""
    reached: dict[int, set[int]] = {}
    for start in follow:
        found: set[int] = set()
        left = list(follow[start])
        while left:
            state = left.pop()
            if state not in found:
                found.add(state)
                left += follow[state]
        reached[start] = found
    done: set[int] = set()
    for state in follow:
        if state in reached[state] and state not in done:
            loop = {other for other in reached[state] if state in reached[other]}
            done |= loop
            yield loop


def _shown(characters: Class) -> str:
    """One of the characters, a letter or digit if there is any."""
    best = min(characters, key=lambda c: (not chr(c).isalnum() or c > 127, not 32 <= c < 127, c))
    return repr(chr(best))


_MAY_CALL = {"compile", "escape"}
_MATCHES = {"match", "fullmatch"}
_READS = {*_MATCHES, "search", "finditer", "findall", "sub", "subn", "split", "scanner"}
_EXEMPT = "# linear: "  # and why; behind a pattern that no other text than what it takes can reach


def breaches(root: Path, files: Iterable[Path], package: Path) -> Iterator[str]:
    """Yield each pattern of ``files`` that may be slow, or that nobody can look at before it is used.

    Patterns of the package are looked at as its modules make them; those of other files as they are written.
    """
    trees = {file: parsed((root / file).read_text()) for file in files}
    for file, tree in trees.items():
        for call in _calls(tree):
            if call.func.attr not in _MAY_CALL:
                yield f"{file}:{call.lineno}: re.{call.func.attr}: patterns are compiled where a module begins"
    inside = [file for file in trees if file.is_relative_to(package)]
    if inside:
        command = [sys.executable, str(Path(__file__).resolve()), str((root / package).resolve())]
        done = subprocess.run(command, capture_output=True, text=True)
        for line in (done.stdout + done.stderr).splitlines():
            yield f"{package}/{line}" if done.returncode == 0 else f"{package}: {line}"
    for file in trees.keys() - set(inside):
        lines = (root / file).read_text().splitlines()
        for call in _calls(trees[file]):
            if call.func.attr == "compile" and _EXEMPT not in lines[call.lineno - 1]:
                try:
                    found = danger(ast.literal_eval(call.args[0]), 0)
                except ValueError:
                    found = "a pattern that is no literal cannot be looked at"
                if found is not None:
                    yield f"{file}:{call.lineno}: {found}"


def _calls(tree: ast.AST) -> Iterator[Any]:
    """The calls of functions of re's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "re":
                yield node


def _uses(trees: Iterable[ast.AST]) -> dict[str, set[str]]:
    """How the pattern of each name is used, wherever that is."""
    found: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in _READS:
                name = getattr(node.value, "id", getattr(node.value, "attr", None))
                if name is not None:
                    found.setdefault(name, set()).add(node.attr)
    return found


def made_by(package: Path) -> dict[tuple[Path, int], list[tuple[str | bytes, int]]]:
    """Return pattern and flags of what the package's modules compile when they are imported, by file and line."""
    made: dict[tuple[Path, int], list[tuple[str | bytes, int]]] = {}
    compiled = re.compile

    def compile_(pattern: Any, flags: Any = 0) -> Any:
        frame = sys._getframe(1)
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(package) and not isinstance(pattern, re.Pattern):
            made.setdefault((file, frame.f_lineno), []).append((pattern, int(flags)))
        return compiled(pattern, flags)

    re.compile = compile_
    try:
        for module in pkgutil.walk_packages([str(package)], f"{package.name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    finally:
        re.compile = compiled
    return made


def _look(package: Path) -> Iterator[str]:
    """Yield what is wrong with the patterns of the package."""
    sys.path.insert(0, str(package.parent))
    made = made_by(package)
    texts = {file: file.read_text() for file in sorted(package.rglob("*.py"))}
    trees = {file: ast.parse(text) for file, text in texts.items()}
    uses = _uses(trees.values())
    for file, tree in trees.items():
        named = {
            id(node.value): target.id for node in ast.walk(tree) if isinstance(node, ast.Assign)
            for target in node.targets if isinstance(target, ast.Name)
        }  # fmt: skip
        lines, place = texts[file].splitlines(), file.relative_to(package)
        for call in _calls(tree):
            span = range(call.lineno, call.end_lineno + 1)
            if call.func.attr != "compile" or any(_EXEMPT in lines[number - 1] for number in span):
                continue
            patterns = [each for number in span for each in made.get((file, number), ())]
            if not patterns:
                yield f"{place}:{call.lineno}: a pattern that is made while the program runs cannot be looked at"
            known = uses.get(named.get(id(call), ""), {"search"})
            for use in ({"search"} if known - _MATCHES else set()) | known & _MATCHES:
                for pattern, flags in patterns:
                    found = danger(pattern, flags, use)
                    if found is not None:
                        yield f"{place}:{call.lineno}: {found}"


if __name__ == "__main__":
    gc.disable()
    for breach in dict.fromkeys(_look(Path(sys.argv[1]))):
        print(breach)
