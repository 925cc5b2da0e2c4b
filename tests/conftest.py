"""Which tests are `quick`: what a contributor runs at each change (docs/contributing.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

# No machine boots in them. A new test there is quick by itself; one that takes seconds says `slow`.
UNITS = {"analyze", "host", "setup"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the units as quick, but for the slow ones; of the boots those are quick that say so themselves."""
    folder = Path(__file__).parent
    for item in items:
        if item.path.relative_to(folder).parts[0] in UNITS and item.get_closest_marker("slow") is None:
            item.add_marker("quick")
