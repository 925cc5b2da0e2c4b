"""From the bytes of a trace to typed records."""
