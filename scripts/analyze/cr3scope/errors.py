"""The one exception that a user may meet."""

from __future__ import annotations


class UnusableInput(Exception):
    """Input that cannot be used at all (exit status 2).

    The message is one line that names the thing and the place.
    """
