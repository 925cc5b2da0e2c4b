"""Anything that holds page tables, recognised by content."""
