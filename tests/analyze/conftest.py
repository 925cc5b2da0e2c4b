"""What holds for every test here: how hypothesis runs, and that the messages of all findings are whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from messages import slips

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding
from cr3scope.message import Message

# No limit of time, because other work shares the machine; which examples it draws and throws away is chance.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
settings.load_profile("shared")


@pytest.fixture(scope="session", autouse=True)
def _findings_have_no_slip() -> Iterator[None]:
    BY_ID["access-fault"].finding(Message("the first one puts its own __init__ into the place of any other"))
    plain = Finding.__init__

    def checked(self: Finding, *arguments: Any, **named: Any) -> None:
        plain(self, *arguments, **named)
        found = slips(self)
        assert not found, f"{self.rule}: {'; '.join(found)}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finding, "__init__", checked)
        yield
