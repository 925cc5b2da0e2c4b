"""Code followed without running it: instructions as they stand in memory, and what each is about to do."""
