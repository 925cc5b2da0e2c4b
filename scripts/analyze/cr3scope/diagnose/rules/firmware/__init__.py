"""Rules about what the firmware keeps, forbids and hands over."""
