"""What the CPU will do: a plan, or code that is followed, carried through the tables."""
