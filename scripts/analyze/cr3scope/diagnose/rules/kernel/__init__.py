"""Rules about what the kernel is handed, and what it does with it."""
