"""Addresses in canonical form (SDM volume 1, 3.3.7.1)."""

from __future__ import annotations

import pytest

from cr3scope.paging.canonical import canonical, is_canonical


@pytest.mark.parametrize(("virt", "levels", "right"), [
    (0x7FFF_FFFF_FFFF, 4, 0x7FFF_FFFF_FFFF), (0x8000_0000_0000, 4, 0xFFFF_8000_0000_0000), (0xFFFF_FFFF_FFFF, 4, 0xFFFF_FFFF_FFFF_FFFF),
    (0x8000_0000_0000, 5, 0x8000_0000_0000), (1 << 56, 5, 0xFF << 56), (0x8000_0000, 2, 0x8000_0000), (0xFFFF_FFFF, 3, 0xFFFF_FFFF),
])  # fmt: skip
def test_an_address_in_canonical_form(virt: int, levels: int, right: int) -> None:
    assert canonical(virt, levels) == right
    assert is_canonical(right, levels)
