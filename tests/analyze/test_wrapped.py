"""Lines of a width, against the library's."""

from __future__ import annotations

import textwrap
from random import Random

import pytest

from cr3scope.render import wrapped as module
from cr3scope.render.wrapped import wrapped

_WORDS = ("a", "page-table", "PML4[511]", "", " ", "\t", "\n", "\xa0", "\u2003", "0x" + "0" * 30, "é")


@pytest.mark.parametrize("on_hyphens", [False, True])
def test_wrapped_words_are_those_of_the_library(on_hyphens: bool) -> None:
    random = Random(0)
    for _ in range(2000):
        words = " ".join(random.choice(_WORDS) for _ in range(random.randrange(8)))
        width, head, indent = random.choice((10, 30, 100)), random.choice(("", "  proof  ")), random.choice(("", "  "))
        right = textwrap.wrap(words, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=on_hyphens)
        assert wrapped(words, width, head, indent, on_hyphens) == right, repr(words)


def test_words_that_fit_are_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module.textwrap, "wrap")
    assert wrapped("the page is not present", 100, "proof  ") == ["proof  the page is not present"]
