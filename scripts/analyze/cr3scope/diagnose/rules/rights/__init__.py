"""Rules about what entries grant and forbid."""
