"""Rules about the registers that a switch loads, and the state of the CPU around it."""
