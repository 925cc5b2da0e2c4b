"""What will strike a CPU that still stands: its own tables, stacks and gates."""
