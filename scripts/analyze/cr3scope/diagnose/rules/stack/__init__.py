"""Rules about the stack that the switch goes on with."""
