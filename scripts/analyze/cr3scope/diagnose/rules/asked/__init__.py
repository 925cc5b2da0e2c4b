"""Rules about what was asked for, beside what the tables grant."""
