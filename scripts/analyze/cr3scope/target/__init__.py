"""A CPU that stands: its registers as plain data, and the memory around it."""
