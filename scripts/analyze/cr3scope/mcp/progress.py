"""Tells a client that asked for it how long its call has been at work: `notifications/progress`, beginning after a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from cr3scope import limits
from cr3scope.mcp import message
from cr3scope.mcp.message import Id

_METHOD = "notifications/progress"


class Progress:
    """Of one call. ``token``: None where the client asked for none; ``tell`` sends a line; ``clock`` counts seconds."""

    def __init__(self, token: Id | None, tell: Callable[[bytes], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._token, self._tell, self._clock = token, tell, clock
        self._begin = clock()
        self._turns = 0

    def beat(self, doing: str) -> None:
        """Tell what is being done, if that is due: once each second, so that the figure always grows."""
        passed = self._clock() - self._begin
        turns = int(passed / limits.MCP_PROGRESS_SECONDS)
        if self._token is None or turns <= self._turns:
            return
        self._turns = turns
        self._tell(message.notification(_METHOD, {"progressToken": self._token, "progress": round(passed, 3), "message": doing}))
