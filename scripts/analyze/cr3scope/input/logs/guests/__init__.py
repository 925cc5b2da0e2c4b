"""What guests themselves print of their exceptions: read only where one of their signs is in a log."""
