"""Rules about the code behind the switch, and where it lies."""
