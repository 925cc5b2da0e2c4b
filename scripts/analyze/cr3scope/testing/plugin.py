"""A plugin of pytest: the fixture ``cr3scope_boot``, and the reports of a failed test's boots below its failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from cr3scope.testing.booted import Booted


@pytest.fixture
def cr3scope_boot(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Booted]:
    """Return `cr3scope.testing.boot`, which leaves what it captures in a folder of this test."""
    from cr3scope.testing.booted import boot

    count = 0

    def start(*command: Any, **options: Any) -> Booted:
        nonlocal count
        count += 1
        options.setdefault("folder", tmp_path / f"boot{count}")
        booted = boot(*command, **options)
        request.node.add_report_section("call", f"cr3scope, boot {count}", booted.report)
        return booted

    return start
