"""`make check` refuses a regular expression that some line makes slow, and the package's own are quick on such lines."""

from __future__ import annotations

import ast
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import check_patterns  # noqa: E402
from check_patterns import Automaton, breaches, danger  # noqa: E402

PACKAGE = ROOT / "scripts/analyze/cr3scope"
CHARACTERS, SECONDS = 20_000, 0.4


@pytest.mark.parametrize(
    ("pattern", "use"),
    [
        (r"(?:a+)+b", "match"),  # 2^n ways
        (r"(?:a+)+", "fullmatch"),
        (r"(?:a?b?)*c", "match"),
        (r"(?:[ \t]*[a-z]+)+\n", "match"),
        (r"(?:abc|a[bc]c)*d", "match"),
        (r"(.*)x\1y", "match"),
        (r"a*b?a*c", "match"),  # n^2
        (r"^[0-9a-fx]*[ \t]*[0-9]*[BKM ]?[ \t]", "search"),
        (r"(?m)^\s*CPU", "search"),
        (r"[0-9]+:", "search"),  # again from each digit
        (r"x[^\n]*b", "search"),
        (r"x[^\n]*\n", "search"),
        (r"\s*\|\s*", "search"),
        (r'"(?:[^"\\]|\\.)*"', "search"),
        (r"(?=a+b)a", "search"),
        (r"(?i)A[ab]{5000}c", "search"),
    ],
)
def test_a_pattern_that_some_line_makes_slow_is_refused(pattern: str, use: str) -> None:
    assert danger(pattern, 0, use) is not None
    assert danger(pattern.encode(), 0, use) is not None


@pytest.mark.parametrize(
    ("pattern", "use"),
    [
        (r"a+", "search"),  # nothing behind it can fail
        (r"(?:a+)+", "match"),
        (r"x[^\n]*", "search"),
        (r"a*b", "match"),
        (r"^a*b", "search"),
        (r"(?m)^[ ]*x", "search"),
        (r"(?<![0-9a-f])[0-9a-f]+:", "search"),
        (r"\b[0-9]+:", "search"),
        (r"@c3s[0-9]+ ", "search"),
        (r"CR3=[0-9a-f]+\s", "search"),
        (r"(?:[ \t]+[a-z]+)+\n", "match"),
        (r"a{1,40}b{0,9}b{0,9}c", "search"),
    ],
)
def test_a_pattern_that_no_line_makes_slow_is_let_through(pattern: str, use: str) -> None:
    assert danger(pattern, 0, use) is None
    assert danger(pattern.encode(), 0, use) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('import re\nre.search("a", "b")\n', "re.search: patterns are compiled where a module begins"),
        ('import re\n_A = re.compile("[0-9]+:")\n', "x.py:2: a search begins anew"),
        ('import re\ndef f(a: str) -> object:\n    return re.compile(a)\n', "x.py:3: a pattern that is no literal"),
        ('import re\n_A = re.compile("[0-9]+:")  # linear: why\n', None),
    ],
)
def test_a_file_is_told_of_by_line(text: str, says: str | None, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(text)
    found = list(breaches(tmp_path, [Path("x.py")], Path("package")))
    assert [says is not None and says in line for line in found] == [True] * (says is not None)


def samples(automaton: Automaton, seed: int) -> Iterator[str]:
    """Yield long texts that such an automaton nearly takes: each is a walk in it, again and again."""
    rng = random.Random(seed)
    every = range(len(automaton.classes))

    def character(position: int) -> str:
        return chr(min((c for c in automaton.classes[position]), key=lambda c: (not 32 <= c < 127, rng.random()), default=32))

    for _ in range(4):
        walk, position = "", rng.choice(sorted(automaton.first) or [0])
        for _ in range(rng.choice((1, 10, 100))):
            walk += character(position)
            position = rng.choice(sorted(automaton.follow[position]) or [rng.choice(every)])
        yield (walk * CHARACTERS)[:CHARACTERS]
    for position in rng.sample(every, min(4, len(every))):
        yield character(position) * CHARACTERS


@pytest.mark.slow
def test_every_pattern_of_the_package_is_quick_on_lines_of_its_own_characters() -> None:
    """From the outside: a search of lines that nearly match, for each of some 150 patterns."""
    script = (
        f"import sys; sys.path[:0] = {[str(ROOT / 'scripts'), str(PACKAGE.parent)]!r}; import pathlib, check_patterns;"
        f" print({{(str(f), n): p for (f, n), p in check_patterns.made_by(pathlib.Path({str(PACKAGE)!r})).items()}})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    made: dict[tuple[str, int], list[tuple[str | bytes, int]]] = ast.literal_eval(done.stdout)
    assert len(made) > 100
    for (file, line), patterns in made.items():
        for pattern, flags in patterns:
            compiled: Any = re.compile(pattern, flags)
            for text in samples(Automaton(pattern, flags), line):
                line_of = text if isinstance(pattern, str) else text.encode("latin-1")
                assert any(seconds(compiled, line_of) < SECONDS for _ in range(3)), f"{file}:{line}: {text[:100]!r}"


def seconds(compiled: Any, text: str | bytes) -> float:
    """CPU time of one search; the objects of other tests may be collected meanwhile, but not at each of three."""
    began = time.process_time()
    list(compiled.finditer(text))
    return time.process_time() - began


def test_the_check_itself_is_part_of_make_check() -> None:
    import check

    assert check.check_regular_expressions in check.READING
    assert list(check_patterns.breaches(ROOT, [], Path("scripts/analyze/cr3scope"))) == []
