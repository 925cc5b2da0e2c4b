"""How emulators and hypervisors write what they have to say: read only where one of their signs is in a log."""
