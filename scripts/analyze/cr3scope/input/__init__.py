"""What can be read: traces, logs, cores, listings."""
