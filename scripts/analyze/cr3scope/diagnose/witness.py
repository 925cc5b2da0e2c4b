"""Who can have seen what a machine did behind its switch: what a rule may speak of, and what it may ask for."""

from __future__ import annotations

from enum import Enum


class Witness(Enum):
    """What there is of the time behind the switch, beside the trace itself."""

    NOBODY = "nothing: the capture may come from anywhere"
    LOG = "a log of the emulator's, of the same run"
    CONSOLE = "a console, of a machine of which nothing else is known"
    PHOTO = "a screen: what was drawn before the switch, or by the exception's handler"
