"""Rules about resets, silence, and what no other family explains."""
