"""Logs of what a machine did: find the switch and the exceptions after it."""
