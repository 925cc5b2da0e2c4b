"""A length of time on the command line."""

from __future__ import annotations

import argparse


def seconds(text: str) -> float:
    """Return a number of seconds, at most a day; ArgumentTypeError of anything else."""
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("between 0 and 86400 seconds")
    return value
