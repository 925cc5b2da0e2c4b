"""The one place where a verdict is made from evidence and findings."""
