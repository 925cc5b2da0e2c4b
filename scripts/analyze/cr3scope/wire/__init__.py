"""Listening at a machine's console: opens what was named, keeps what is said, and tells boots apart."""
