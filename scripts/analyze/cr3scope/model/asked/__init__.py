"""What the trace asked for, held against what the tables grant, all ranges at once."""
