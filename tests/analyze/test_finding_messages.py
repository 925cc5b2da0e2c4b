"""Every finding of every test here is looked at (conftest.py): this shows that a slip is seen."""

from __future__ import annotations

import pytest
from messages import slips

from cr3scope.diagnose.catalogue import RULES
from cr3scope.diagnose.finding import Finding
from cr3scope.message import Hex, Message, message

RULE = RULES[0]


def test_a_finding_without_a_slip_is_made() -> None:
    inner = message("at {virt}", virt=Hex(1))
    found = RULE.finding(message("{where} of {name}", where=inner, name="{x}"), message("{virt}", virt=Hex(1)))
    assert slips(found) == []


@pytest.mark.parametrize(("title", "proof", "slip"), [
    (message("{entry} of {name}", name="a"), Message("b"), "no fact entry"),
    (Message("{entry}"), Message("b"), "no fact entry"),
    (message("a", name="a"), Message("b"), "name is not shown"),
    (message("{what}", what=message("a", name="a")), Message("b"), "name is not shown"),
    (message("{virt}", virt=Hex(1)), message("{virt}", virt=Hex(2)), "virt is 1 and 2"),
    (message("{virt}", virt=Hex(1)), message("{virt}", virt=1), "virt is 1 and 1"),
    (message("{one} {virt}", one=message("{virt}", virt=1), virt=2), Message("b"), "virt is 1 and 2"),
])  # fmt: skip
def test_a_slip_fails_the_test_in_which_the_finding_is_made(title: Message, proof: Message, slip: str) -> None:
    with pytest.raises(AssertionError, match=slip):
        RULE.finding(title, proof)


def test_no_advice_of_a_rule_has_a_slip() -> None:
    for rule in RULES:
        assert isinstance(rule.finding(Message(rule.title)), Finding)
