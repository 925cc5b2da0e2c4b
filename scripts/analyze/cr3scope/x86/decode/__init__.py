"""Instructions as capstone decodes them, and which registers and memory their operands name."""
