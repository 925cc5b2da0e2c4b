"""What ends the whole matrix before it begins."""

from __future__ import annotations


class ReleasesError(Exception):
    """Tell in one line what is unusable or missing: a setting, a right, a tool."""
