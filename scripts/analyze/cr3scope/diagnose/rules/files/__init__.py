"""Mistakes that a file shows before anybody boots it: `cr3scope lint`."""
