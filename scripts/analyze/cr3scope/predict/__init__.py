"""What the CPU will do: the plan carried through the model."""
